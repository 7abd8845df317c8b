// What a client reports an event: one line of JSON. Long texts are told by their length.

const shorten = (value) => {
  if (typeof value === "string" && value.length > 1000) return { length: [...value].length, end: [...value].slice(-3).join("") };
  if (Array.isArray(value)) return value.map(shorten);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shorten(inner)]));
};

/** `text` is the event's data as the client handed it over; that it is JSON is part of the check. */
export const told = (event, id, text) => JSON.stringify({ event, id, data: shorten(JSON.parse(text)) });
export const closed = () => JSON.stringify({ closed: true });
