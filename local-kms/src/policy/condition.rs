//! The `Condition` of a statement: operators, what they compare with, and when they hold.
//!
//! Source: AWS IAM User Guide, "Condition operators" and "Set operators for multivalued context keys".

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::context::Context;
use super::json::Json;
use super::value::{Network, parse_bool, parse_date, parse_number};
use super::variables::Template;
use super::wildcard;

/// One operator with one key: `"StringEquals": {"kms:ViaService": […]}`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// As written, for whoever asks why.
    operator: String,
    key: String,
    wanted: Vec<String>,
    test: Test,
}

/// A condition that does not hold for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedCondition {
    pub(crate) operator: String,
    pub(crate) key: String,
    pub(crate) wanted: Vec<String>,
    /// `None` if the request does not have the key.
    pub(crate) actual: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
enum Test {
    /// The key must be absent, or must be present; the policy may list both.
    Null(Vec<bool>),
    Compare {
        comparison: Comparison,
        negated: bool,
        quantifier: Quantifier,
        if_exists: bool,
    },
}

/// How many values of the request's key must satisfy the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    /// Without a set operator. AWS says nothing of keys with several values here; any of them may match, and with a
    /// negated operator none of them may.
    Single,
    ForAnyValue,
    ForAllValues,
}

/// The values of the policy, any of which may match.
#[derive(Clone, Debug)]
enum Comparison {
    Equal(Vec<Template>),
    EqualIgnoringCase(Vec<Template>),
    Like(Vec<Template>),
    Arn(Vec<Template>),
    Number(Order, Vec<f64>),
    Date(Order, Vec<Timestamp>),
    Bool(Vec<Template>),
    Binary(Vec<Vec<u8>>),
    Network(Vec<Network>),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug)]
enum Family {
    Equal,
    EqualIgnoringCase,
    Like,
    Arn,
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Network,
}

impl Condition {
    /// The conditions of a statement's `Condition`, all of which must hold. `template` reads variables as the version
    /// of the policy does.
    pub(super) fn parse_all(
        element: &Json,
        template: fn(&str) -> Result<Template, String>,
    ) -> Result<Vec<Self>, String> {
        let Json::Object(operators) = element else { return Err("Condition is not an object".into()) };
        let mut conditions = Vec::new();
        for (operator, keys) in operators {
            let Json::Object(keys) = keys else { return Err(format!("{operator} has no object of condition keys")) };
            for (key, values) in keys {
                let wanted = parse_wanted(values).ok_or_else(|| {
                    format!("{operator} \"{key}\" is compared with what is no string, number or truth value")
                })?;
                let test = Test::parse(operator, &wanted, template)
                    .map_err(|reason| format!("{operator} \"{key}\": {reason}"))?;
                conditions.push(Self { operator: operator.clone(), key: key.clone(), wanted, test });
            }
        }
        Ok(conditions)
    }

    /// Whether it holds for every request that lacks a key which at most one value could have.
    pub(super) fn is_overly_permissive(&self) -> bool {
        let key = self.key.to_lowercase();
        matches!(self.test, Test::Compare { quantifier: Quantifier::ForAllValues, .. })
            && ["kms:encryptioncontext:", "aws:requesttag/"].iter().any(|single_valued| key.starts_with(single_valued))
    }

    pub(super) fn check(&self, context: &Context) -> Result<(), FailedCondition> {
        let actual = context.get(&self.key);
        if self.test.holds(actual, context) {
            return Ok(());
        }
        Err(FailedCondition {
            operator: self.operator.clone(),
            key: self.key.clone(),
            wanted: self.wanted.clone(),
            actual: actual.map(<[String]>::to_vec),
        })
    }
}

fn parse_wanted(values: &Json) -> Option<Vec<String>> {
    let scalar = |value: &Json| match value {
        Json::String(text) | Json::Number(text) => Some(text.clone()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    };
    match values {
        Json::Array(items) => items.iter().map(scalar).collect(),
        single => scalar(single).map(|text| vec![text]),
    }
}

impl Test {
    fn parse(
        operator: &str,
        wanted: &[String],
        template: fn(&str) -> Result<Template, String>,
    ) -> Result<Self, String> {
        // AWS documents these names in one spelling and accepts them in any case.
        let name = operator.to_ascii_lowercase();
        if name == "null" {
            return Ok(Self::Null(parse_each(wanted, "true or false", parse_bool)?));
        }
        let (quantifier, name) = if let Some(name) = name.strip_prefix("foranyvalue:") {
            (Quantifier::ForAnyValue, name)
        } else if let Some(name) = name.strip_prefix("forallvalues:") {
            (Quantifier::ForAllValues, name)
        } else {
            (Quantifier::Single, name.as_str())
        };
        let (name, if_exists) = match name.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (family, negated) = family(name).ok_or("unknown condition operator")?;
        let comparison = Comparison::parse(family, wanted, template)?;
        Ok(Self::Compare { comparison, negated, quantifier, if_exists })
    }

    /// An empty list of values is as good as none.
    fn holds(&self, actual: Option<&[String]>, context: &Context) -> bool {
        let actual = actual.unwrap_or_default();
        match self {
            Self::Null(wanted) => wanted.contains(&actual.is_empty()),
            Self::Compare { if_exists: true, .. } if actual.is_empty() => true,
            Self::Compare { comparison, negated, quantifier, .. } => {
                let mut values = actual.iter();
                match quantifier {
                    Quantifier::Single => values.any(|value| comparison.matches(value, context)) != *negated,
                    Quantifier::ForAnyValue => values.any(|value| comparison.matches(value, context) != *negated),
                    Quantifier::ForAllValues => values.all(|value| comparison.matches(value, context) != *negated),
                }
            }
        }
    }
}

/// What an operator compares, and whether it holds when that does not match. `name` is in lower case.
fn family(name: &str) -> Option<(Family, bool)> {
    let (family, negated) = match name {
        "stringequals" => (Family::Equal, false),
        "stringnotequals" => (Family::Equal, true),
        "stringequalsignorecase" => (Family::EqualIgnoringCase, false),
        "stringnotequalsignorecase" => (Family::EqualIgnoringCase, true),
        "stringlike" => (Family::Like, false),
        "stringnotlike" => (Family::Like, true),
        "arnequals" | "arnlike" => (Family::Arn, false),
        "arnnotequals" | "arnnotlike" => (Family::Arn, true),
        "bool" => (Family::Bool, false),
        "binaryequals" => (Family::Binary, false),
        "ipaddress" => (Family::Network, false),
        "notipaddress" => (Family::Network, true),
        _ => {
            if let Some(order) = name.strip_prefix("numeric") {
                let (order, negated) = Order::parse(order)?;
                (Family::Number(order), negated)
            } else {
                let (order, negated) = Order::parse(name.strip_prefix("date")?)?;
                (Family::Date(order), negated)
            }
        }
    };
    Some((family, negated))
}

impl Comparison {
    fn parse(
        family: Family,
        wanted: &[String],
        template: fn(&str) -> Result<Template, String>,
    ) -> Result<Self, String> {
        let templates = || wanted.iter().map(|text| template(text)).collect::<Result<Vec<_>, _>>();
        Ok(match family {
            Family::Equal => Self::Equal(templates()?),
            Family::EqualIgnoringCase => Self::EqualIgnoringCase(templates()?),
            Family::Like => Self::Like(templates()?),
            Family::Arn => Self::Arn(templates()?),
            Family::Number(order) => Self::Number(order, parse_each(wanted, "a number", parse_number)?),
            Family::Date(order) => Self::Date(order, parse_each(wanted, "a date", parse_date)?),
            Family::Bool => {
                let templates = templates()?;
                for (template, text) in templates.iter().zip(wanted) {
                    if !template.has_variables() {
                        parse_each(std::slice::from_ref(text), "true or false", parse_bool)?;
                    }
                }
                Self::Bool(templates)
            }
            Family::Binary => Self::Binary(parse_each(wanted, "base64", |text| STANDARD.decode(text).ok())?),
            Family::Network => Self::Network(parse_each(wanted, "an address or a network", Network::parse)?),
        })
    }

    /// Whether one value of the request matches any of the policy's. What cannot be compared does not match.
    fn matches(&self, actual: &str, context: &Context) -> bool {
        let text_matches = |templates: &[Template], matches: &dyn Fn(&str) -> bool| {
            templates.iter().any(|template| template.text(context).is_some_and(|text| matches(&text)))
        };
        match self {
            Self::Equal(wanted) => text_matches(wanted, &|text| text == actual),
            Self::EqualIgnoringCase(wanted) => {
                let actual = actual.to_lowercase();
                text_matches(wanted, &|text| text.to_lowercase() == actual)
            }
            Self::Bool(wanted) => {
                parse_bool(actual).is_some_and(|actual| text_matches(wanted, &|text| parse_bool(text) == Some(actual)))
            }
            Self::Like(wanted) => wanted
                .iter()
                .any(|template| template.pattern(context).is_some_and(|pattern| wildcard::matches(&pattern, actual))),
            Self::Arn(wanted) => wanted.iter().any(|template| {
                template.pattern(context).is_some_and(|pattern| wildcard::matches_arn(&pattern, actual))
            }),
            Self::Number(order, wanted) => parse_number(actual)
                .is_some_and(|actual| wanted.iter().any(|wanted| order.holds(actual.partial_cmp(wanted)))),
            Self::Date(order, wanted) => parse_date(actual)
                .is_some_and(|actual| wanted.iter().any(|wanted| order.holds(Some(actual.cmp(wanted))))),
            Self::Binary(wanted) => STANDARD.decode(actual).is_ok_and(|actual| wanted.contains(&actual)),
            Self::Network(wanted) => {
                actual.parse().is_ok_and(|actual| wanted.iter().any(|network| network.contains(actual)))
            }
        }
    }
}

impl Order {
    fn parse(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "equals" => (Self::Equal, false),
            "notequals" => (Self::Equal, true),
            "lessthan" => (Self::Less, false),
            "lessthanequals" => (Self::LessOrEqual, false),
            "greaterthan" => (Self::Greater, false),
            "greaterthanequals" => (Self::GreaterOrEqual, false),
            _ => return None,
        })
    }

    /// `ordering` is that of the request's value to the policy's.
    fn holds(self, ordering: Option<Ordering>) -> bool {
        ordering.is_some_and(|ordering| match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        })
    }
}

fn parse_each<T>(wanted: &[String], what: &str, parse: fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    wanted.iter().map(|text| parse(text).ok_or_else(|| format!("\"{text}\" is not {what}"))).collect()
}
