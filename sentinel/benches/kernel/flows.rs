use crate::Plan;use crate::figures::Book;pub(crate) fn run(_:&Plan,_:&mut Book)->anyhow::Result<()>{Ok(())}
