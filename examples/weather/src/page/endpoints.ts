// The page for people: files as they lie in ../../page, written by hand and built by nobody. What the kit allows an API's answers to do in a
// browser is nothing; a page may run its own scripts, and ask its own server. Browsers keep what it is made of under names that change
// with the content, and ask each time whether the page is still the same.

import { type Endpoint, staticFiles } from "millrace";

const ours = new URL("../../page/", import.meta.url);

/** Stricter than what staticFiles() says by itself: forms are sent by the page's scripts only, and there are no fonts and no films. */
const contentSecurityPolicy = (scripts: string): string =>
  [
    "default-src 'none'",
    `script-src 'self' ${scripts}`,
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");

// #region static-files
export const pageEndpoints = (directory: URL | string = ours): readonly Endpoint[] =>
  staticFiles({ directory, prefix: "/page/", pages: { "/": "index.html" }, contentSecurityPolicy, depth: 0 }).endpoints;
// #endregion
