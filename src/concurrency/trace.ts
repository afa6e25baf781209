// The place of a piece of work in a distributed trace: the two headers of W3C Trace Context
// (https://www.w3.org/TR/trace-context/). The kit passes them on; who makes spans of them is a tracer's matter.

/** What `traceparent` and `tracestate` said, or a tracer put there. */
export interface TraceContext {
  /** `00-<32 hex trace id>-<16 hex parent id>-<2 hex flags>`, and later versions of it. */
  readonly traceparent: string;
  readonly tracestate?: string | undefined;
}

/** Version, trace id, parent id, flags; a later version may say more behind another hyphen. */
const traceparentForm = /^(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]*)?$/;

/** Printable ASCII of at most 512 characters: what the specification asks everybody to pass on. */
const tracestateForm = /^[\x20-\x7e]{1,512}$/;

/**
 * The trace that a message's headers speak of, or undefined when they speak of none or not in the form of the specification: a
 * header that is wrong must not be passed on. A wrong `tracestate` is dropped alone.
 */
export function traceOf(traceparent: string | undefined, tracestate?: string): TraceContext | undefined {
  if (traceparent === undefined || traceparent.length > 200) return undefined;
  const match = traceparentForm.exec(traceparent);
  if (!match || (match[1] === "00" && match[2] !== undefined)) return undefined;
  return tracestate !== undefined && tracestateForm.test(tracestate) ? { traceparent, tracestate } : { traceparent };
}
