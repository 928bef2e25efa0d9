//! A parameter of an operation: how it is read, and what the document says about it.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef},
};

use super::problem::Problem;

/// A documented parameter, extracted into its type. The framework's own extractors answer in the
/// framework's words.
pub(crate) struct Param<T>(pub T);

/// A type that a parameter can have.
pub(crate) trait Parameter: Sized + Send {
    const IN: MetaParamIn;
    const REQUIRED: bool = false;

    fn schema() -> MetaSchema;

    /// Reads the parameter called `name`.
    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem>;
}

impl<'a, T: Parameter> ApiExtractor<'a> for Param<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = T::REQUIRED;

    type ParamType = Self;
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(T::IN)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(T::schema())))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<Self>,
    ) -> poem::Result<Self> {
        Ok(Self(T::extract(options.name, request)?))
    }
}
