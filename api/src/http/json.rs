//! JSON bodies of requests.
//!
//! The framework's own payload reads without bound, detours through a tree of values, and takes the
//! last of repeated members.

use std::marker::PhantomData;

use poem::{Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::Payload,
    registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry},
    types::Type,
};
use serde::de::DeserializeOwned;

use super::{
    arrival::Arrival,
    body::{self, BodyLimits, ReceivedBody},
    body_headers,
    memory::Reservation,
    problem::Problem,
};

/// The byte order mark of UTF-8, which RFC 8259 lets a reader skip (8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A JSON document of type `T`, as it came, which is described as an `S`.
pub(crate) struct Json<T, S = T> {
    pub document: T,
    /// What was reserved for the body, and is enough for an answer that has no more than is in it.
    pub memory: Option<Reservation>,
    schema: PhantomData<fn() -> S>,
}

impl<T: Send, S: Type> Payload for Json<T, S> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        S::schema_ref()
    }

    fn register(registry: &mut Registry) {
        S::register(registry);
    }
}

impl<'a, T: DeserializeOwned + Send, S: Type> ApiExtractor<'a> for Json<T, S> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Self as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: Self::CONTENT_TYPE,
                schema: Self::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        body_headers::check(request)?;
        let limits = request
            .data::<BodyLimits>()
            .expect("the router sets the limits of bodies");
        let (declared, arrival) = (declared_length(request), Arrival::of(request));
        let ReceivedBody { text, memory } =
            body::receive(body.take()?.into(), declared, limits, arrival).await?;
        let document = parse(&text)?;
        Ok(Self {
            document,
            memory,
            schema: PhantomData,
        })
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    // An array would be taken for the members in their order.
    let parsed = match text.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(text)
            .map_err(|error| format!("The body is not as documented: {error}.")),
        _ => Err("The body is not a JSON object.".to_owned()),
    };
    parsed.map_err(|detail| match str::from_utf8(text) {
        Ok(_) => Problem::invalid(detail),
        Err(_) => Problem::invalid("The body is not UTF-8."),
    })
}

fn declared_length(request: &Request) -> Option<usize> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}
