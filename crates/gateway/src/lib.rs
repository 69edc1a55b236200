//! The doors agents and programs enter by, and the pipeline behind them.
