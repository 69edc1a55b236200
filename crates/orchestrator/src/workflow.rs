//! Workflows of the Open Workflow Specification 1.0.3, as typed definitions.
