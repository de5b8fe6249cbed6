/** What the dashboard uses of preact, its hooks and htm. Only for the type checker. */
export interface VNode {}
export interface Ref<T> { current: T }
export type Watch = () => void | (() => void);
export function html(strings: TemplateStringsArray, ...values: unknown[]): VNode;
export function render(node: VNode, into: Element): void;
export function useState<T>(initial: T | (() => T)): [T, (next: T | ((before: T) => T)) => void];
export function useRef<T>(initial: T): Ref<T>;
export function useRef(initial: null): Ref<any>;
export function useMemo<T>(make: () => T, inputs: unknown[]): T;
export function useEffect(effect: () => any, inputs?: unknown[]): void;
export function useLayoutEffect(effect: () => any, inputs?: unknown[]): void;
