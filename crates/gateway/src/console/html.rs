//! HTML that can't be broken by what it shows: only literals enter as they are, every value is escaped.

use std::fmt::Write as _;

use serde_json::Value;

/// A piece of HTML.
#[derive(Clone, Default)]
pub(crate) struct Html(String);

/// A piece that begins with a literal.
pub(crate) fn html(literal: &'static str) -> Html {
    Html(literal.to_owned())
}

/// A value as it stands.
pub(crate) fn text(value: &str) -> Html {
    Html::default().text(value)
}

/// A link to a page of ours.
pub(crate) fn link(to: &str, label: &str) -> Html {
    html("<a href=\"").text(to).raw("\">").text(label).raw("</a>")
}

/// A state, said in words and marked by its kind.
pub(crate) fn state(name: &str) -> Html {
    let kind = match name {
        "up" | "done" | "completed" | "closed" | "healthy" | "possible" => "<span class=\"state good\">",
        "down" | "failing" | "failed" | "refused" | "stuck" | "faulted" | "open" | "firing" | "unhealthy" => {
            "<span class=\"state bad\">"
        }
        _ => "<span class=\"state\">",
    };
    html(kind).text(name).raw("</span>")
}

/// A table, which scrolls by itself where it is too wide; words where it has no rows.
pub(crate) fn table(caption: &'static str, heads: &[&'static str], rows: &[Vec<Html>]) -> Html {
    let region = html("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"").text(caption);
    let mut out = region.raw("\"><table><caption>").text(caption).raw("</caption><thead><tr>");
    for head in heads {
        out = out.raw("<th scope=\"col\">").text(head).raw("</th>");
    }
    out = out.raw("</tr></thead><tbody>");
    for row in rows {
        out = out.raw("<tr>");
        for (cell, head) in row.iter().zip(heads) {
            // On a phone each cell is a line with its head before it.
            out = if cell.is_empty() {
                out.raw("<td class=\"none\">")
            } else {
                out.raw("<td data-head=\"").text(head).raw("\">")
            };
            out = out.push(cell).raw("</td>");
        }
        out = out.raw("</tr>");
    }
    out = out.raw("</tbody></table></div>");
    if rows.is_empty() { out.raw("<p class=\"quiet\">There is nothing to show.</p>") } else { out }
}

/// A field of a form that filters.
pub(crate) fn field(name: &'static str, label: &'static str, value: &str) -> Html {
    let label = html("<label>").text(label).raw(" <input name=\"").raw(name);
    label.raw("\" value=\"").text(value).raw("\"></label>")
}

/// A value of JSON in the fewest characters: text as it stands, nothing for null.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A moment in milliseconds since 1970, in UTC, to the second.
pub(crate) fn moment(value: &Value) -> Html {
    let moment = value.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(Html::default, |moment| text(&moment.strftime("%Y-%m-%d %H:%M:%S").to_string()))
}

/// A value as a segment of a path or as a parameter of a query.
pub(crate) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl Html {
    /// Adds a literal.
    pub(crate) fn raw(mut self, literal: &'static str) -> Self {
        self.0.push_str(literal);
        self
    }

    /// Adds a piece.
    pub(crate) fn push(mut self, piece: &Self) -> Self {
        self.0.push_str(&piece.0);
        self
    }

    /// Adds a value, escaped for text and for attributes in quotes.
    pub(crate) fn text(mut self, value: &str) -> Self {
        for character in value.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\0' => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        self
    }

    /// Whether nothing would be seen.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole.
    pub(crate) fn done(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_values() {
        let hostile = "</td><script>alert('1')</script>\" onload=\"x&\0";
        let shown = link(&format!("/console/tools/{}", encode(hostile)), hostile).done();
        assert_eq!(shown.matches('<').count(), 2, "{shown}");
        assert_eq!(shown.matches('"').count(), 2, "{shown}");
        assert!(shown.contains("&lt;script&gt;alert(&#39;1&#39;)") && !shown.contains('\0'), "{shown}");
    }
}
