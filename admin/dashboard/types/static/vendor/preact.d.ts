// The types of static/vendor/preact.js, which contains htm and Preact. TypeScript finds them
// through rootDirs in tsconfig.json.
import type { VNode } from "preact";

export { Component, createContext, h, render } from "preact";
export {
  useCallback,
  useContext,
  useDebugValue,
  useEffect,
  useErrorBoundary,
  useImperativeHandle,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from "preact/hooks";

/** html renders a template to Preact elements. It doesn't check the types of properties. */
export function html(strings: TemplateStringsArray, ...values: unknown[]): VNode;
