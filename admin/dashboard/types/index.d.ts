// Short names for types, to be used in JSDoc comments:
//
//     /** @typedef {import("../types").Token} Token */
//
// The types of the admin API come from api.d.ts, which scripts/frontend format generates.
import type { components, operations } from "./api";

export type { ComponentChildren, JSX, VNode } from "preact";

/** The bodies of the admin API's requests and responses, by their names in openapi.json. */
type Schemas = components["schemas"];

/** The JSON body of an operation's 200 response. */
export type Result<Name extends keyof operations> = operations[Name]["responses"] extends {
  200: { content: { "application/json": infer Body } };
}
  ? Body
  : never;

/** The query parameters of an operation. */
export type Query<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;

export type Attention = Schemas["Attention"];
export type AttentionItem = Schemas["AttentionItem"];
export type AuditEntry = Schemas["AuditEntry"];
export type CreateToken = Schemas["CreateToken"];
export type EditToken = Schemas["EditToken"];
export type Explanation = Schemas["Explanation"];
export type GateExplanation = Schemas["GateExplanation"];
export type HealthCheck = Schemas["HealthCheck"];
export type HealthChecks = Schemas["HealthChecks"];
export type Imported = Schemas["Imported"];
export type Introspection = Schemas["Introspection"];
export type GateNode = Schemas["Node"];
export type GateUsage = Schemas["NodeUsage"];
export type LastUse = Schemas["LastUse"];
export type NameCount = Schemas["NameCount"];
export type Overview = Schemas["Overview"];
export type Problem = Schemas["Problem"];
export type Quota = Schemas["Quota"];
export type RateLimit = Schemas["RateLimit"];
export type RefusedRequest = Schemas["RefusedRequest"];
export type RequestCount = Schemas["RequestCount"];
export type RotateToken = Schemas["RotateToken"];
export type Session = Schemas["Session"];
export type Settings = Schemas["Settings"];
export type Survey = Schemas["Survey"];
export type Token = Schemas["Token"];
export type TokenCounts = Schemas["TokenCounts"];
export type TokenWithSecret = Schemas["TokenWithSecret"];
export type UsagePoint = Schemas["UsagePoint"];

export type TokenKind = Token["kind"];
export type TokenStatus = Token["status"];

export type Account = Result<"listAccounts">["data"][number];
export type AuditPage = Result<"listAudit">;
export type Health = Result<"getHealth">;
export type PreviousUse = Result<"getPreviousUse">;
export type ResourceType = Settings["resource_types"][number];
export type Scope = Result<"listScopes">["data"][number];
export type TokenPage = Result<"listTokens">;
export type Usage = Result<"getTokenUsage">;
