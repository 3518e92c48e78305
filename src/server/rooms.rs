//! The services of rooms from the configuration.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::extensions::Rooms;
use crate::hooks::{Catalogue, Outbound};
use crate::jid::BareJid;
use crate::storage::{Error, Storage};

use super::components::parent;

/// Makes them; they are served once the router knows them.
///
/// # Errors
/// What storage says.
pub(super) fn of_config(
    config: &Config,
    (storage, clock): (&Storage, &Clock),
    catalogue: &Catalogue,
    outbound: &Arc<dyn Outbound>,
) -> Result<Vec<Arc<Rooms>>, Error> {
    let mut all = Vec::new();
    for name in &config.services.rooms {
        // Names of the configuration are addresses.
        let Ok(domain) = BareJid::of_domain(name.as_str()) else { continue };
        all.extend(Rooms::new(
            domain,
            Arc::from(parent(config, name.as_str())),
            (storage, clock),
            catalogue,
            outbound,
        )?);
    }
    Ok(all)
}
