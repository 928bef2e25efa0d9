//! What is found out about a request when it arrives, once for everything that asks later.

use std::net::IpAddr;

use poem::Request;
use tokio::time::Instant;

use super::route::Route;

/// Set by the outermost middleware.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub route: Route,
    /// The address of the client.
    pub client: IpAddr,
    /// Until when the body must have come, and the database have answered.
    pub deadline: Instant,
}

impl Arrival {
    pub(crate) fn of(request: &Request) -> Self {
        let arrival = request.data::<Self>();
        *arrival.expect("the outermost middleware sets it")
    }
}

#[cfg(test)]
impl Arrival {
    /// A request to this path, as the inner middleware gets it.
    pub(crate) fn at(path: &str) -> Request {
        let mut request = Request::builder().uri_str(path).finish();
        request.set_data(Self {
            route: Route::of(request.uri().path()),
            client: IpAddr::from([127, 0, 0, 1]),
            deadline: Instant::now() + std::time::Duration::from_secs(5),
        });
        request
    }
}
