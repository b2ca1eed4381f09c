//! Clusters in the system folder whose Freehold folder is gone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::Instance;
use crate::home::{SYSTEM_DIR, owner};

/// A cluster that nothing refers to any more. Removing its `home` frees its space, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The folder in `/var/lib/freehold` which holds the cluster.
    pub home: PathBuf,
    /// The folder that it belonged to.
    pub owner: PathBuf,
}

/// Lists the clusters in `/var/lib/freehold` whose folder was removed, or has become another
/// Freehold's since. Those whose owner cannot be told are left out, so only root sees all.
#[must_use]
pub fn orphans() -> Vec<Orphan> {
    let entries = fs::read_dir(SYSTEM_DIR).into_iter().flatten().flatten();
    let mut orphans: Vec<Orphan> = (entries.map(|entry| entry.path()))
        .filter_map(|home| Some(Orphan { owner: owner(&home)?, home }))
        .filter(|orphan| is_gone(&orphan.owner, &orphan.home))
        .collect();
    orphans.sort_by(|a, b| a.home.cmp(&b.home));
    orphans
}

fn is_gone(owner: &Path, home: &Path) -> bool {
    match Instance::read(owner) {
        Ok(Some(instance)) => {
            home.file_name().is_some_and(|name| name != instance.id.to_string().as_str())
        }
        // A folder without instance.json may be in the middle of its first start.
        Ok(None) => matches!(owner.try_exists(), Ok(false)),
        Err(_) => false,
    }
}
