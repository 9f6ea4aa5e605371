// The contract shop 1.0.0, for TypeScript and npm's node-ipc.
// Made by `node-ipc contract` from the Python code; what is changed here is lost.

/** An order that will be carried out. */
export interface Confirmed {
  /** An integer. */
  number: number;
  price: number;
}

/** So many of one thing. */
export interface Line {
  item: string;
  /**
   * An integer, 1 or more.
   * Default: 1.
   */
  count?: number;
}

/** What somebody wants to have. */
export interface Order {
  /** At least 1 long. */
  lines: Line[];
  /** Default: "post". */
  delivery?: "pickup" | "post";
}

/** Events that clients emit and the server hears. */
export interface ShopReceives {
  /** Order something; ``confirmed`` comes back. */
  order: Order;
}

/** Events that the server emits and clients hear. */
export interface ShopSends {
  confirmed: Confirmed;
}

/** Methods that the server answers. */
export interface ShopAnswers {
  /** What one of an item costs; null where there is none. */
  price: { params: string; result: number | null };
}

/** Methods that the server asks its clients for. */
export interface ShopAsks {
}

/** What node-ipc tells of the link itself. */
export interface ShopLifecycle {
  connect: () => void;
  disconnect: () => void;
  destroy: () => void;
  error: (error: any) => void;
}

/** A request as it is on the wire: emit it as "rpc.request". */
export interface ShopCall<M extends PropertyKey, P> {
  jsonrpc: "2.0";
  id: number | string;
  method: M;
  params: P;
}

/** Why a request was not answered as it should. */
export interface ShopFault {
  code: number;
  message: string;
  data?: unknown;
}

/** An answer as it is on the wire: it comes as "rpc.response". */
export type ShopAnswer<R> =
  | { jsonrpc: "2.0"; id: number | string | null; result: R; error?: undefined }
  | { jsonrpc: "2.0"; id: number | string | null; result?: undefined; error: ShopFault };

type ShopCallOf<Methods extends { [M in keyof Methods]: { params: any } }> = {
  [M in keyof Methods]: ShopCall<M, Methods[M]["params"]>;
}[keyof Methods];
type ShopAnswerOf<Methods extends { [M in keyof Methods]: { result: any } }> = ShopAnswer<
  Methods[keyof Methods]["result"]
>;

/** What clients may ask the server, and what it may ask them, as it is on the wire. */
export type ShopRequest = ShopCallOf<ShopAnswers>;
export type ShopResponse = ShopAnswerOf<ShopAnswers>;
export type ShopRequestToClient = ShopCallOf<ShopAsks>;
export type ShopResponseOfClient = ShopAnswerOf<ShopAsks>;

/** `ipc.of.shop`: a client of the server. */
export interface ShopLink {
  on<E extends keyof ShopSends>(event: E, handler: (data: ShopSends[E]) => void): unknown;
  on(event: "rpc.response", handler: (response: ShopResponse) => void): unknown;
  on(event: "rpc.request", handler: (request: ShopRequestToClient) => void): unknown;
  on<E extends keyof ShopLifecycle>(event: E, handler: ShopLifecycle[E]): unknown;
  off(event: keyof ShopSends | keyof ShopLifecycle | "rpc.response" | "rpc.request" | "*", handler: any): unknown;
  emit<E extends keyof ShopReceives>(event: E, data: ShopReceives[E]): unknown;
  emit(event: "rpc.request", request: ShopRequest): unknown;
  emit(event: "rpc.response", response: ShopResponseOfClient): unknown;
  emit(event: "rpc.cancel", cancel: { id: number | string }): unknown;
}

/** `ipc.server`, where Node is the server. `S` is a socket, as handlers get it. */
export interface ShopServer<S = any> {
  on<E extends keyof ShopReceives>(event: E, handler: (data: ShopReceives[E], socket: S) => void): unknown;
  on(event: "rpc.request", handler: (request: ShopRequest, socket: S) => void): unknown;
  on(event: "rpc.response", handler: (response: ShopResponseOfClient, socket: S) => void): unknown;
  on(event: "rpc.cancel", handler: (cancel: { id: number | string }, socket: S) => void): unknown;
  on(event: "start" | "connect" | "disconnect", handler: (...rest: any[]) => void): unknown;
  on(event: "socket.disconnected", handler: (socket: S, id: any) => void): unknown;
  on(event: "error", handler: (error: any) => void): unknown;
  off(event: keyof ShopReceives | "rpc.request" | "rpc.response" | "start" | "*", handler: any): unknown;
  emit<E extends keyof ShopSends>(socket: S, event: E, data: ShopSends[E]): unknown;
  emit(socket: S, event: "rpc.response", response: ShopResponse): unknown;
  emit(socket: S, event: "rpc.request", request: ShopRequestToClient): unknown;
  broadcast<E extends keyof ShopSends>(event: E, data: ShopSends[E]): unknown;
  start(): void;
  stop(): void;
}

/** node-ipc with these types: `const typed = ipc as unknown as ShopIPC`. */
export interface ShopIPC {
  config: any;
  log(...values: any[]): void;
  of: { shop: ShopLink };
  server: ShopServer;
  connectTo(id: "shop", callback?: () => void): void;
  connectTo(id: "shop", path: string, callback?: () => void): void;
  connectToNet(id: "shop", callback?: () => void): void;
  connectToNet(id: "shop", host: string, port: number, callback?: () => void): void;
  disconnect(id: "shop"): void;
  serve(callback?: () => void): void;
  serve(path: string, callback?: () => void): void;
  serveNet(callback?: () => void): void;
  serveNet(host: string, port: number, callback?: () => void): void;
}

/** What the class below needs of `ipc.of.shop`; node-ipc 9, 10 and 14 have it. */
interface NodeClient {
  on(event: string, handler: (...values: any[]) => void): unknown;
  off(event: string, handler: any): unknown;
  emit(event: string, data?: any): unknown;
}

/** The other side answered a request with an error, or the link ended before it answered. */
export class ShopError extends Error {
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** Emits, listens and asks, typed: `new Shop(ipc.of.shop)`. */
export class Shop {
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

  on<E extends keyof ShopSends & string>(event: E, handler: (data: ShopSends[E]) => void): this {
    this.client.on(event, handler);
    return this;
  }

  off<E extends keyof ShopSends & string>(event: E, handler: (data: ShopSends[E]) => void): this {
    this.client.off(event, handler);
    return this;
  }

  emit<E extends keyof ShopReceives & string>(
    event: E, ...data: unknown extends ShopReceives[E] ? [data?: unknown] : [data: ShopReceives[E]]
  ): void {
    this.client.emit(event, ...data);
  }

  /** Ask the server; rejected with a `ShopError`. `timeout` is in milliseconds. */
  request<M extends keyof ShopAnswers & string>(
    method: M,
    ...[params, timeout = 30_000]: unknown extends ShopAnswers[M]["params"]
      ? [params?: unknown, timeout?: number] : [params: ShopAnswers[M]["params"], timeout?: number]
  ): Promise<ShopAnswers[M]["result"]> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.client.emit("rpc.cancel", { id });
        settle({ error: { code: -32000, message: `no answer to ${method} within ${timeout} ms` } });
      }, timeout);
      const settle = ({ result, error }: any) => {
        clearTimeout(timer);
        this.#asked.delete(id);
        if (error) reject(new ShopError(error.code, error.message, error.data));
        else resolve(result);
      };
      this.#asked.set(id, settle);
      this.client.emit("rpc.request", { jsonrpc: "2.0", id, method, params });
    });
  }

  /** Answer what the server asks: with what `handler` returns, or with the error that it throws. */
  handle<M extends keyof ShopAsks & string>(
    method: M, handler: (params: ShopAsks[M]["params"]) => ShopAsks[M]["result"] | Promise<ShopAsks[M]["result"]>
  ): this {
    this.#methods.set(method, handler);
    return this;
  }

  async #answer({ id, method, params }: any): Promise<void> {
    let answer: object;
    try {
      const handler = this.#methods.get(method);
      if (!handler) throw new ShopError(-32601, `there is no method ${method}`);
      answer = { result: (await handler(params)) ?? null };
    } catch (error) {
      const known = error instanceof ShopError ? error : new ShopError(-32603, "the handler failed");
      const { code, message, data } = known;
      answer = { error: { code, message, data } };
    }
    if (id !== undefined && id !== null) this.client.emit("rpc.response", { jsonrpc: "2.0", id, ...answer });
  }
}
