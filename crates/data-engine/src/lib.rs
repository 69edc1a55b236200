//! Data between schemas: mapping, transformation, validation, evolution.
