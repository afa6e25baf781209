// Which addresses an upstream may have: public ones, unless others are allowed. The lists are IANA's special-purpose registries
// (RFC 6890 and its updates). See docs/upstream.md#addresses.

import { BlockList, isIP } from "node:net";

/** Not globally reachable, or reachable only by going somewhere else first. */
const reserved4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16", // link-local, and the metadata services of clouds
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
];

/** Of 2000::/3, the only range of global unicast addresses. 6to4 and Teredo carry an IPv4 address that may be any. */
const reserved6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [network, bits] = range.split("/");
    const family = isIP(network!) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(network!, family);
    else list.addSubnet(network!, Number(bits), family);
  }
  return list;
}

const privateAddresses = listOf([...reserved4, ...reserved6]);
const global6 = listOf(["2000::/3"]);

/** The IPv4 address inside of an IPv4-mapped one, `::ffff:a.b.c.d` in any of its spellings. */
function mapped4(address: string): string | undefined {
  const host = new URL(`http://[${address.split("%")[0]}]/`).hostname; // the canonical spelling: [::ffff:7f00:1]
  const match = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(host);
  if (!match) return undefined;
  const bits = (parseInt(match[1]!, 16) << 16) | parseInt(match[2]!, 16);
  return [bits >>> 24, (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255].join(".");
}

/** Whether a connection may go to `address`: true, or a list of ranges that are allowed beside the public ones. */
export type AllowPrivate = boolean | readonly string[];

/** @throws when a range is not one */
export function addressRule(allowPrivate: AllowPrivate): (address: string) => boolean {
  if (allowPrivate === true) return () => true;
  const allowed = listOf(allowPrivate === false ? [] : allowPrivate);
  return (given) => {
    const kind = isIP(given);
    if (kind === 0) return false;
    const address = (kind === 6 ? mapped4(given) : undefined) ?? given;
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (allowed.check(address, family)) return true;
    if (family === "ipv6" && !global6.check(address, family)) return false;
    return !privateAddresses.check(address, family);
  };
}
