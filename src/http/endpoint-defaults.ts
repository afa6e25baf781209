// What an endpoint falls back to when its policy says nothing, each value with its reason.

/** What an endpoint does when its policy says nothing. */
export const endpointDefaults = {
  deadline: "10s", // as long as people keep their attention on something (Nielsen 1993); then the work is for nobody
  compress: true,
} as const;

/** What a multipart body may hold when the endpoint says nothing else. */
export const multipartDefaults = {
  files: 1, // more is a decision
  fileBytes: 10 * 1024 * 1024, // a photograph or a scanned document
  fields: 20,
  fieldBytes: 64 * 1024, // a long text
} as const;
