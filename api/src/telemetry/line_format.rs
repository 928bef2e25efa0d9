//! How a line of the log is written, for people and for machines. Whatever the text of a field is, and
//! whichever library logs it, here it is escaped and cut.

use std::fmt::{self, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::{MakeVisitor, RecordFields, VisitFmt, VisitOutput},
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{DefaultVisitor, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::{LookupSpan, Scope},
};

use super::field_text::{FieldText, Form};

const MESSAGE: &str = "message";

/// Writes the fields of a line for people.
pub(super) struct TextFields;

impl<'w> MakeVisitor<Writer<'w>> for TextFields {
    type Visitor = TextVisitor<'w>;

    fn make_visitor(&self, writer: Writer<'w>) -> TextVisitor<'w> {
        TextVisitor(DefaultVisitor::new(writer, true))
    }
}

/// The library's own, with bounded texts.
pub(super) struct TextVisitor<'w>(DefaultVisitor<'w>);

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = format_args!("{value}");
        if field.name() == MESSAGE {
            self.record_debug(field, &value);
        } else {
            let text = FieldText(Form::Quoted, &value);
            self.0.record_debug(field, &format_args!("\"{text:?}\""));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.record_debug(field, &FieldText(Form::Plain, value));
    }
}

impl VisitOutput<fmt::Result> for TextVisitor<'_> {
    fn finish(self) -> fmt::Result {
        self.0.finish()
    }
}

impl VisitFmt for TextVisitor<'_> {
    fn writer(&mut self) -> &mut dyn Write {
        self.0.writer()
    }
}

/// Writes fields as members of a JSON object, each after a comma.
pub(super) struct JsonFields;

impl<'w> FormatFields<'w> for JsonFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = JsonVisitor {
            writer,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct JsonVisitor<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
}

impl JsonVisitor<'_> {
    fn member(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            let name = field.name().trim_start_matches("r#");
            self.result = write!(self.writer, ",\"{name}\":{value}");
        }
    }
}

impl Visit for JsonVisitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.member(field, format_args!("{value:?}")),
            // JSON has no other numbers.
            false => self.member(field, format_args!("null")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = FieldText(Form::Json, value);
        self.member(field, format_args!("\"{text:?}\""));
    }
}

/// A line for machines: one JSON object. The library's own takes the fields of an event as they are.
pub(super) struct JsonLine;

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(writer, "{{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", metadata.level())?;
        context.format_fields(writer.by_ref(), event)?;
        write!(writer, ",\"target\":\"{}\"", metadata.target())?;
        let mut spans = Vec::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.map_or("", |fields| &fields.fields);
            spans.push(format!("{{\"name\":\"{}\"{fields}}}", span.name()));
        }
        if let Some(innermost) = spans.last() {
            let all = spans.join(",");
            write!(writer, ",\"span\":{innermost},\"spans\":[{all}]")?;
        }
        writeln!(writer, "}}")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::{Value, json};
    use tracing_subscriber::{fmt, fmt::MakeWriter, prelude::*};

    use super::*;

    /// Collects what is logged.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// The same in both formats.
    fn logged(log: impl Fn()) -> (String, Value) {
        let (text, json) = (Written::default(), Written::default());
        let layer = fmt::layer().with_ansi(false).fmt_fields(TextFields);
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(text.clone()));
        tracing::subscriber::with_default(subscriber, &log);
        let layer = fmt::layer().fmt_fields(JsonFields).event_format(JsonLine);
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(json.clone()));
        tracing::subscriber::with_default(subscriber, &log);
        (text.text(), serde_json::from_str(&json.text()).unwrap())
    }

    #[test]
    fn each_kind_of_field_is_written_in_both_formats() {
        let (text, json) = logged(|| {
            tracing::info!(
                number = -1,
                big = u64::MAX,
                part = 0.5,
                none = f64::NAN,
                yes = true,
                shown = %"a b",
                debug = ?"a",
                quoted = "a \"b\"",
                absent = Option::<u8>::None,
                "said"
            );
        });
        let fields = "said number=-1 big=18446744073709551615 part=0.5 none=NaN yes=true \
                      shown=a b debug=\"a\" quoted=\"a \\\"b\\\"\"\n";
        assert!(text.ends_with(fields), "{text}");
        assert_eq!(json["level"], "INFO");
        assert_eq!(json["message"], "said");
        assert_eq!(json["number"], -1);
        assert_eq!(json["big"], u64::MAX);
        assert_eq!(json["part"], 0.5);
        assert_eq!(json["none"], Value::Null);
        assert_eq!(json["yes"], true);
        assert_eq!(json["shown"], "a b");
        assert_eq!(json["debug"], "\"a\"");
        assert_eq!(json["quoted"], "a \"b\"");
        assert_eq!(json.get("absent"), None);
    }

    #[test]
    fn spans_are_told_with_what_they_learned_later() {
        let (text, json) = logged(|| {
            let outer = tracing::info_span!("outer", id = "a\nb");
            let _outer = outer.enter();
            let inner = tracing::info_span!("inner", late = tracing::field::Empty);
            inner.record("late", 7);
            inner.in_scope(|| tracing::info!("said"));
        });
        assert!(
            text.contains("outer{id=\"a\\nb\"}:inner{late=7}: "),
            "{text}"
        );
        let outer = json!({"name": "outer", "id": "a\nb"});
        let inner = json!({"name": "inner", "late": 7});
        assert_eq!(json["span"], inner);
        assert_eq!(json["spans"], json!([outer, inner]));
    }

    #[test]
    fn a_text_that_others_wrote_is_one_bounded_field_of_one_line() {
        let hostile = format!(
            "x\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J{}",
            "y".repeat(9999)
        );
        let (text, json) = logged(|| {
            let error = io::Error::other(hostile.clone());
            let error = &error as &dyn std::error::Error;
            tracing::error!(shown = %hostile, quoted = hostile, error, "{hostile}");
        });
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}') && text.len() < 5000, "{text}");
        for member in ["shown", "quoted", "error", "message"] {
            let text = json[member].as_str().unwrap();
            assert!(text.starts_with("x\n") && text.len() <= 1024, "{text}");
        }
    }
}
