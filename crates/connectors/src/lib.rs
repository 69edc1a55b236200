//! Ways to reach a service: MCP, OpenAPI, processes.
