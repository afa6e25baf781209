// What a name is searched by: "São Paulo", "SAO PAULO" and "Sao  paulo" are the same.

/** Letters that Unicode does not take apart into a base and a mark, and the sigma that is written at the end of a word only. */
const plainLetters: Readonly<Record<string, string>> = {
  ß: "ss",
  æ: "ae",
  œ: "oe",
  ø: "o",
  ł: "l",
  đ: "d",
  ð: "d",
  þ: "th",
  ħ: "h",
  ı: "i",
  ς: "σ",
};

/** `name` in lower case, without accents and apostrophes, with single spaces. Both the loader and the search use it. */
export function searchName(name: string): string {
  return name
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[ßæœøłđðþħıς]/g, (letter) => plainLetters[letter]!)
    .replace(/[\p{Mark}'‘’ʻʼ`]/gu, "")
    .replace(/\s+/g, " ")
    .trimStart();
}

/** Comes after every text that begins with `prefix`: U+10FFFF is the last code point and no character. */
export const afterPrefix = (prefix: string): string => `${prefix}\u{10FFFF}`;
