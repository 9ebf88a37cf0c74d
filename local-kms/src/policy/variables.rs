//! Text of a policy in which `${…}` stands for a value of the request.

use super::context::Context;
use super::wildcard::Token;

/// Text and variables, as the policy's version reads them.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    /// As written: `*` and `?` are wildcards where wildcards are.
    Text(String),
    /// `${*}`, `${?}` or `${$}`.
    Character(char),
    Variable {
        key: String,
        default: Option<String>,
    },
}

impl Template {
    /// Before version 2012-10-17, `${` was text like any other.
    pub(super) fn literal(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            parts.push(Part::Text(rest[..start].to_owned()));
            let (part, after) =
                variable(&rest[start + 2..]).ok_or_else(|| format!("\"{text}\" has a malformed variable"))?;
            parts.push(part);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    pub(super) fn has_variables(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Variable { .. }))
    }

    /// IAM replaces a variable of a Resource only after the fifth colon.
    pub(super) fn has_variable_before_arn_resource(&self) -> bool {
        let mut colons = 0;
        for part in &self.0 {
            match part {
                Part::Text(text) => colons += text.matches(':').count(),
                Part::Character(_) => {}
                Part::Variable { .. } if colons < 5 => return true,
                Part::Variable { .. } => {}
            }
        }
        false
    }

    /// For comparisons without wildcards. `None` if a variable has no value.
    pub(super) fn text(&self, context: &Context) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(written) => text.push_str(written),
                Part::Character(character) => text.push(*character),
                Part::Variable { key, default } => text.push_str(value(context, key, default.as_deref())?),
            }
        }
        Some(text)
    }

    /// For comparisons with wildcards, which only the policy itself may write. `None` if a variable has no value.
    pub(super) fn pattern(&self, context: &Context) -> Option<Vec<Token>> {
        let mut pattern = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(written) => pattern.extend(written.chars().map(Token::parse)),
                Part::Character(character) => pattern.push(Token::Char(*character)),
                Part::Variable { key, default } => {
                    pattern.extend(value(context, key, default.as_deref())?.chars().map(Token::Char));
                }
            }
        }
        Some(pattern)
    }
}

/// A key of several values is no variable in IAM: which of them would it be?
fn value<'a>(context: &'a Context, key: &str, default: Option<&'a str>) -> Option<&'a str> {
    match context.get(key) {
        Some([value]) => Some(value),
        _ => default,
    }
}

/// The variable that `text` begins with, after its `${`, and what follows its `}`.
fn variable(text: &str) -> Option<(Part, &str)> {
    let end = text.find([',', '}'])?;
    let key = text[..end].trim();
    if key.is_empty() || key.contains(['$', '{', '\'']) && key != "$" {
        return None;
    }
    if text[end..].starts_with('}') {
        let part = match key {
            "*" => Part::Character('*'),
            "?" => Part::Character('?'),
            "$" => Part::Character('$'),
            key => Part::Variable { key: key.to_owned(), default: None },
        };
        return Some((part, &text[end + 1..]));
    }
    let (default, after) = text[end + 1..].trim_start().strip_prefix('\'')?.split_once('\'')?;
    let after = after.trim_start().strip_prefix('}')?;
    Some((Part::Variable { key: key.to_owned(), default: Some(default.to_owned()) }, after))
}
