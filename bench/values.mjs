// The values that are stored.

/** A value whose JSON text has about so many bytes, like an answer of the API: a list of objects. @param {number} bytes */
function valueOfSize(bytes) {
  if (bytes < 1000) return { text: 'x'.repeat(bytes - '{"text":""}'.length) };
  const item = {
    id: 4_000,
    name: 'An issue',
    deck: null,
    description: 'About this issue. '.repeat(50),
  };
  const size = JSON.stringify(item).length + 1;
  return {
    results: Array.from({ length: Math.max(1, Math.round(bytes / size)) }, (_, id) => ({
      ...item,
      id,
    })),
  };
}

/** By the size of their JSON text. */
export const values = {
  '100 B': valueOfSize(100),
  '5 KB': valueOfSize(5_000),
  '55 KB': valueOfSize(55_000),
  '1 MB': valueOfSize(1_000_000),
};

export const HOUR_SECONDS = 3600;
