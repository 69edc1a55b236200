//! Who calls and what they may do: identity and authorisation.
