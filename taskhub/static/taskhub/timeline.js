// One list of several that are read in pages, each the newest first. No DOM.

/**
 * @typedef {object} Source
 * @property {readonly { at: string }[]} items - The newest first, as far as they are read.
 * @property {boolean} hasMore - Whether older ones can be read.
 *
 * @typedef {{ at: string, order: number }} Placed
 */

/**
 * The time from which on all items are known: that of the oldest one that was read, of the sources that have more.
 * Empty: everything is known.
 *
 * @param {readonly Source[]} sources
 */
export const knownSince = (sources) =>
  sources.reduce((since, { items, hasMore }) => {
    const oldest = hasMore ? (items.at(-1)?.at ?? "") : "";
    return isAfter(oldest, since) ? oldest : since;
  }, "");

/**
 * The items of a time from which on all are known, the newest first; of one moment, the later sources first.
 *
 * @template {{ at: string }} T
 * @param {readonly T[][]} lists
 * @param {string} since
 * @returns {T[]}
 */
export function merged(lists, since) {
  const all = lists.flatMap((items, order) => items.map((item) => ({ item, order })));
  return all
    .filter(({ item }) => !isAfter(since, item.at))
    .sort((one, other) => compare(other.item.at, one.item.at) || other.order - one.order)
    .map(({ item }) => item);
}

/**
 * @param {string} one
 * @param {string} other
 */
const isAfter = (one, other) => one !== "" && (other === "" || compare(one, other) > 0);

/**
 * Times may have different digits behind the second, which a Date cuts off.
 *
 * @param {string} one
 * @param {string} other
 */
function compare(one, other) {
  const difference = Date.parse(one) - Date.parse(other);
  return difference || (one === other ? 0 : one < other ? -1 : 1);
}
