//! What waits for other servers.

use crate::site::Site;

/// Whether everything has been delivered that was sent to other servers: they have it, or their answer is here.
///
/// # Errors
/// What the command says, for example that the server has ended.
pub(crate) fn nothing_waits(site: &Site) -> Result<bool, String> {
    let shown = site.run(&["peers", "--json"], "");
    if !shown.status.success() {
        return Err(String::from_utf8_lossy(&shown.stderr).into_owned());
    }
    let peers: serde_json::Value = serde_json::from_slice(&shown.stdout).map_err(|error| error.to_string())?;
    Ok(peers.as_array().is_some_and(|peers| peers.iter().all(|peer| peer["stanzas"] == 0)))
}
