// Multipart bodies (RFC 7578): the parts one after the other, files as streams, everything bounded. See docs/endpoints.md.

import type { Readable } from "node:stream";
import fastifyMultipart from "@fastify/multipart";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type OptionChecks, integer, resolveOptions } from "../core/index.ts";
import { httpErrors } from "./errors.ts";
import { multipartDefaults } from "./endpoint-defaults.ts";

/** How much a multipart body may hold. */
export interface MultipartLimits {
  /** Default 1. */
  readonly files?: number;
  /** Bytes of one file. Default 10 MiB. */
  readonly fileBytes?: number;
  /** Default 20. */
  readonly fields?: number;
  /** Bytes of one field's value. Default 64 KiB. */
  readonly fieldBytes?: number;
}

export interface MultipartField {
  readonly kind: "field";
  readonly name: string;
  readonly value: string;
}

/** A file. Read its stream to the end, or destroy it, before asking for the next part. */
export interface MultipartFile {
  readonly kind: "file";
  readonly name: string;
  /** As the client calls it: never use it as a path. */
  readonly filename: string;
  /** As the client says: it may not be true. */
  readonly contentType: string;
  /** Errors with MILLRACE_HTTP_BODY_TOO_LARGE when the file exceeds its limit. */
  readonly stream: Readable;
}

export type MultipartPart = MultipartField | MultipartFile;

const limitChecks = {
  files: integer(0, 1_000),
  fileBytes: integer(1),
  fields: integer(0, 1_000),
  fieldBytes: integer(1, 16 * 1024 * 1024),
} satisfies OptionChecks<MultipartLimits>;

/** The limits with their defaults. @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID */
export const resolveMultipartLimits = (route: string, limits: MultipartLimits) =>
  resolveOptions(`endpoint("${route}").multipart`, limits, multipartDefaults, limitChecks);

/** Lets `fastify` take multipart bodies. They are read by multipartParts(), not before the handler. */
export async function acceptMultipart(fastify: FastifyInstance): Promise<void> {
  await fastify.register(fastifyMultipart, { throwFileSizeLimit: true });
}

const multipartError = (error: unknown): unknown => {
  const { code, message } = error as { code?: string; message?: string };
  switch (code) {
    case "FST_REQ_FILE_TOO_LARGE":
      return httpErrors.create("MILLRACE_HTTP_BODY_TOO_LARGE", {}, error);
    case "FST_FILES_LIMIT":
    case "FST_FIELDS_LIMIT":
    case "FST_PARTS_LIMIT":
      return httpErrors.create("MILLRACE_HTTP_MULTIPART_INVALID", { reason: "it has more parts than are accepted here." }, error);
    case "FST_INVALID_MULTIPART_CONTENT_TYPE":
      return httpErrors.create("MILLRACE_HTTP_MEDIA_TYPE_UNSUPPORTED", { accepted: "multipart/form-data" }, error);
    default:
      // Errors of the parser itself have no code; those of the handler's own streams pass through.
      return code === undefined && /multipart|form|part|boundary/i.test(message ?? "")
        ? httpErrors.create("MILLRACE_HTTP_MULTIPART_INVALID", { reason: "it is malformed or ended early." }, error)
        : error;
  }
};

/** The parts of a request's body, in the order in which they come. */
export async function* multipartParts(request: FastifyRequest, limits: Required<MultipartLimits>): AsyncGenerator<MultipartPart> {
  const { files, fileBytes, fields, fieldBytes } = limits;
  const parserLimits = {
    files,
    fileSize: fileBytes,
    fields,
    fieldSize: fieldBytes,
    parts: files + fields,
    fieldNameSize: 100,
    headerPairs: 100,
  };
  try {
    for await (const part of request.parts({ limits: parserLimits })) {
      if (part.type === "file") {
        yield { kind: "file", name: part.fieldname, filename: part.filename, contentType: part.mimetype, stream: part.file };
      } else {
        if (part.valueTruncated) throw httpErrors.create("MILLRACE_HTTP_BODY_TOO_LARGE", { limit: fieldBytes });
        yield { kind: "field", name: part.fieldname, value: String(part.value) };
      }
    }
  } catch (error) {
    throw multipartError(error);
  }
}
