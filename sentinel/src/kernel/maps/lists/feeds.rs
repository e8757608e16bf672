//! The lists as the feeds' room sees them.

use super::{ListError, ListId, ListMaps, ListOrder};
use crate::intel::feeds::{ListEnforcer, ListHold, ListRefused, ListUse};
use ipnet::IpNet;

impl From<ListError> for ListRefused {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Full { .. } => Self::Full(error.to_string()),
            ListError::NotInUse { .. } | ListError::Kernel { .. } => Self::Kernel(error.to_string()),
        }
    }
}

fn id(list: u8) -> Result<ListId, ListRefused> {
    ListId::new(list).ok_or_else(|| ListRefused::Kernel(format!("there is no list {list}")))
}

impl ListEnforcer for ListMaps {
    fn put(&self, list: u8, hold: &ListHold, nets: &mut dyn Iterator<Item = IpNet>) -> Result<u64, ListRefused> {
        let list = id(list)?;
        let order = ListOrder {
            decision: hold.id,
            expires_ns: hold.until.0,
            shadow: hold.shadow,
        };
        let change = self.replace(list, &order, nets)?;
        let (wanted, found) = (change.added + change.kept, self.entries(list)?.len() as u64);
        if wanted != found {
            return Err(ListRefused::Differs { wanted, found });
        }
        Ok(found)
    }

    fn take_off(&self, list: u8) -> Result<(), ListRefused> {
        self.remove(id(list)?)?;
        Ok(())
    }

    fn standing(&self) -> Result<Vec<ListUse>, ListRefused> {
        let all = self.in_use()?.into_iter();
        Ok(all
            .map(|one| ListUse {
                list: one.list.number(),
                id: one.order.decision,
                dropped: one.hits.hits,
                would_drop: one.hits.would_hits,
            })
            .collect())
    }
}
