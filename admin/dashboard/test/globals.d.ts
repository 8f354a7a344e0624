/// <reference types="node" />

// Modules in static run in browsers, where timers are numbers. Node's types replace them with
// objects, which these declarations undo.
export {};

declare global {
  function setTimeout(handler: TimerHandler, timeout?: number, ...args: any[]): number;
  function setInterval(handler: TimerHandler, timeout?: number, ...args: any[]): number;
}
