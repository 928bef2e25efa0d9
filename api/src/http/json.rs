//! JSON bodies, in and out.
//!
//! The framework's own payload reads without bound, detours through a tree of values, and takes the
//! last of repeated members.

use std::{marker::PhantomData, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited, combinators::BoxBody};
use poem::{IntoResponse, Request, RequestBody, Response, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::Payload,
    registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout_at};

use super::{arrival::Arrival, body_headers, problem::Problem, problem_code::Code};

/// Most answers are shorter, so that their text need not grow.
const USUAL_BYTES: usize = 512;

/// UTF-8's, which RFC 8259 lets a reader skip (8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the body of a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub bytes: usize,
    /// From the head of the request on; only for the text of an error.
    pub time: Duration,
}

/// A JSON document of type `T`.
pub struct Json<T>(pub T);

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(USUAL_BYTES);
        match serde_json::to_writer(&mut text, &self.0) {
            Ok(()) => Response::builder()
                .content_type("application/json")
                .body(text),
            Err(_) => Problem::internal().into_response(),
        }
    }
}

/// A JSON document of type `T` that is text already.
pub struct JsonText<T> {
    text: Bytes,
    of: PhantomData<T>,
}

impl<T> From<Bytes> for JsonText<T> {
    fn from(text: Bytes) -> Self {
        let of = PhantomData;
        Self { text, of }
    }
}

impl<T: Type> Payload for JsonText<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        Json::<T>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        Json::<T>::register(registry);
    }
}

impl<T: Send> IntoResponse for JsonText<T> {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type("application/json")
            .body(self.text)
    }
}

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for Json<T> {
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
        if declared_length(request).is_some_and(|bytes| bytes > limits.bytes) {
            return Err(too_large(limits).into());
        }
        let deadline = Arrival::of(request).deadline;
        let text = read(body.take()?.into(), limits, deadline).await?;
        Ok(Self(parse(&text)?))
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

fn too_large(limits: &BodyLimits) -> Problem {
    let detail = format!("The body has more than {} bytes.", limits.bytes);
    Problem::new(Code::ValueTooLarge, detail)
}

async fn read(
    body: BoxBody<Bytes, std::io::Error>,
    limits: &BodyLimits,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    let mut body = Limited::new(body, limits.bytes);
    match timeout_at(deadline, BodyExt::collect(&mut body)).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limits)),
        Ok(Err(_)) => Err(Problem::invalid("The body cannot be read.")),
        Err(_) => {
            let detail = format!("It must come within {:?}.", limits.time);
            Err(Problem::new(Code::RequestTimeout, detail))
        }
    }
}
