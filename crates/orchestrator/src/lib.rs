//! Chains of tools: plans, execution, sagas, choreography.
