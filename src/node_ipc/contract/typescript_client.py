"""The client that goes into a ``.ts``: emits, listens, asks and answers over one of node-ipc's own clients."""

from __future__ import annotations

__all__ = ["CLIENT"]

CLIENT = """\
/** What the class below needs of `ipc.of.world`; node-ipc 9, 10 and 14 have it. */
interface NodeClient {
  on(event: string, handler: (...values: any[]) => void): unknown;
  off(event: string, handler: any): unknown;
  emit(event: string, data?: any): unknown;
}

/** The other side answered a request with an error, or the link ended before it answered. */
export class WorldError extends Error {
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** Emits, listens and asks, typed: `new World(ipc.of.world)`. */
export class World {
  readonly client: NodeClient;
  #asked = new Map<unknown, (response: any) => void>();
  #methods = new Map<string, (params: any) => unknown>();
  #lastId = 0;

  constructor(client: NodeClient) {
    this.client = client;
    client.on("rpc.response", (response) => this.#asked.get(response?.id)?.(response));
    client.on("rpc.request", (request) => void this.#answer(request));
    client.on("disconnect", () => {
      const error = { code: -32000, message: "the link was lost before the request was answered" };
      for (const settle of [...this.#asked.values()]) settle({ error });
    });
  }

  on<E extends keyof WorldSends & string>(event: E, handler: (data: WorldSends[E]) => void): this {
    this.client.on(event, handler);
    return this;
  }

  off<E extends keyof WorldSends & string>(event: E, handler: (data: WorldSends[E]) => void): this {
    this.client.off(event, handler);
    return this;
  }

  emit<E extends keyof WorldReceives & string>(
    event: E, ...data: unknown extends WorldReceives[E] ? [data?: unknown] : [data: WorldReceives[E]]
  ): void {
    this.client.emit(event, ...data);
  }

  /** Ask the server; rejected with a `WorldError`. `timeout` is in milliseconds. */
  request<M extends keyof WorldAnswers & string>(
    method: M,
    ...[params, timeout = 30_000]: unknown extends WorldAnswers[M]["params"]
      ? [params?: unknown, timeout?: number] : [params: WorldAnswers[M]["params"], timeout?: number]
  ): Promise<WorldAnswers[M]["result"]> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.client.emit("rpc.cancel", { id });
        settle({ error: { code: -32000, message: `no answer to ${method} within ${timeout} ms` } });
      }, timeout);
      const settle = ({ result, error }: any) => {
        clearTimeout(timer);
        this.#asked.delete(id);
        if (error) reject(new WorldError(error.code, error.message, error.data));
        else resolve(result);
      };
      this.#asked.set(id, settle);
      this.client.emit("rpc.request", { jsonrpc: "2.0", id, method, params });
    });
  }

  /** Answer what the server asks: with what `handler` returns, or with the error that it throws. */
  handle<M extends keyof WorldAsks & string>(
    method: M, handler: (params: WorldAsks[M]["params"]) => WorldAsks[M]["result"] | Promise<WorldAsks[M]["result"]>
  ): this {
    this.#methods.set(method, handler);
    return this;
  }

  async #answer({ id, method, params }: any): Promise<void> {
    let answer: object;
    try {
      const handler = this.#methods.get(method);
      if (!handler) throw new WorldError(-32601, `there is no method ${method}`);
      answer = { result: (await handler(params)) ?? null };
    } catch (error) {
      const known = error instanceof WorldError ? error : new WorldError(-32603, "the handler failed");
      const { code, message, data } = known;
      answer = { error: { code, message, data } };
    }
    if (id !== undefined && id !== null) this.client.emit("rpc.response", { jsonrpc: "2.0", id, ...answer });
  }
}
"""
