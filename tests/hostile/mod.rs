//! What the tests of hostile peers are made of: a server with honest witnesses, a peer that can
//! send any bytes, cases and their judge, and the table of what the gate refuses.

pub(crate) mod case;
pub(crate) mod markup;
pub(crate) mod peer;
pub(crate) mod scene;
