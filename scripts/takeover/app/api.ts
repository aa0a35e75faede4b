// Which side a phone speaks to, and what may be tried on the other one.

export interface Sides {
  v1: string; // base URL without a slash at its end
  v2: string; // the same with /v2
}

// Where a phone is on the way from v1 to v2: 0 to 99, always the same for the same install.
export function place(installId: string): number {
  let hash = 0x811c9dc5; // FNV-1a
  for (let i = 0; i < installId.length; i++) {
    hash = Math.imul(hash ^ installId.charCodeAt(i), 0x01000193) >>> 0;
  }
  return hash % 100;
}

// useV2API is the flag's percentage: 0, 10, 25, 50, 75 or 100. As it grows no phone that is on v2 leaves it.
export function usesV2(installId: string, useV2API: number): boolean {
  return place(installId) < useV2API;
}

// What may be sent a second time, because nothing comes of it that the first time did not bring. All else may have been done
// though no answer came: an account, a message, a shared item or a follow secret would be there twice, taken messages be lost.
const repeatable = [
  /^GET \/user\//, /^GET \/shareditem\//, /^POST \/users$/, /^POST \/events$/,
  /^PUT \/user$/, /^PUT \/event$/, /^POST \/follow-secret\/delete$/,
];

const timeoutMs = 30_000;

async function send(base: string, method: string, path: string, body?: unknown): Promise<Response> {
  return await fetch(base + path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMs),
  });
}

// call sends a request to the phone's side. Only when v2 gave no answer, or said that it could not (5xx) or that it is not the one
// (421), and only what may be repeated, goes to v1 as well. 401, 404 and 429 are answers: v1 would give the same.
export async function call(sides: Sides, onV2: boolean, method: string, path: string, body?: unknown): Promise<Response> {
  if (!onV2) {
    return await send(sides.v1, method, path, body);
  }
  const mayRepeat = repeatable.some((form) => form.test(`${method} ${path}`));
  try {
    const response = await send(sides.v2, method, path, body);
    if (!mayRepeat || (response.status < 500 && response.status !== 421)) {
      return response;
    }
  } catch (error) {
    if (!mayRepeat) {
      throw error;
    }
  }
  return await send(sides.v1, method, path, body);
}
