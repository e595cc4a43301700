/** A header block that cannot be decoded. Both sides' tables no longer agree from there on, so it is the end of its connection (RFC 9113, section 4.3). */
export class HpackFault extends Error {}
