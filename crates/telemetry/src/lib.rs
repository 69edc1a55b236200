//! What operators see: metrics, traces, alerts, the service map.
