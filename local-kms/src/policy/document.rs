//! Policy documents: what is well formed, and the statements in it.

use std::collections::HashSet;

use super::MalformedPolicy;
use super::condition::Condition;
use super::json::{Json, Object};
use super::principal::{self, Principals};
use super::variables::Template;
use super::wildcard::Token;

/// AWS's words.
const OVERLY_PERMISSIVE: &str = "OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued \
     condition key matches requests without the specified [encryption context or tag] or with an unspecified \
     [encryption context or tag]. To fix, remove ForAllValues.";

#[derive(Clone, Debug)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// Of a key: says who may do what with it.
    Resource,
    /// Of a user or role: says what they may do with what, so it names no principal.
    Identity,
    /// Of a role: says who may assume it, so it names no resource.
    Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    pub(super) principals: Principals,
    /// In lower case, as names of actions ignore it.
    pub(super) actions: Selection<Vec<Token>>,
    pub(super) resources: Selection<Template>,
    pub(super) conditions: Vec<Condition>,
}

/// An element and its negation, of which a statement has one.
#[derive(Clone, Debug)]
pub(super) enum Selection<T> {
    Everything,
    Nothing,
    AnyOf(Vec<T>),
    NoneOf(Vec<T>),
}

impl Policy {
    pub fn parse(text: &str, kind: PolicyKind) -> Result<Self, MalformedPolicy> {
        parse(text, kind).map_err(MalformedPolicy)
    }

    pub(super) fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

fn parse(text: &str, kind: PolicyKind) -> Result<Policy, String> {
    let json = serde_json::from_str(text).map_err(|error| format!("The policy is not valid JSON: {error}"))?;
    let Json::Object(mut document) = json else { return Err("The policy is not a JSON object".into()) };
    let has_variables = match take_string(&mut document, "Version")?.as_deref() {
        Some("2012-10-17") => true,
        Some("2008-10-17") | None => false,
        Some(version) => {
            return Err(format!("The version \"{version}\" is neither \"2012-10-17\" nor \"2008-10-17\""));
        }
    };
    let template: ReadTemplate = if has_variables { Template::parse } else { |text| Ok(Template::literal(text)) };
    take_string(&mut document, "Id")?;
    let statements = match take(&mut document, "Statement") {
        None => return Err("The policy has no Statement".into()),
        Some(Json::Array(statements)) if statements.is_empty() => return Err("The list of statements is empty".into()),
        Some(Json::Array(statements)) => statements,
        Some(single) => vec![single],
    };
    if let Some((name, _)) = document.first() {
        return Err(format!("Unknown element \"{name}\" of a policy"));
    }

    let statements = statements
        .into_iter()
        .enumerate()
        .map(|(index, statement)| parse_statement(index, statement, kind, template))
        .collect::<Result<Vec<_>, _>>()?;
    if kind == PolicyKind::Identity {
        let mut sids = HashSet::new();
        if let Some(sid) =
            statements.iter().filter_map(|statement| statement.sid.as_ref()).find(|sid| !sids.insert(*sid))
        {
            return Err(format!("Statement IDs (SID) in a single policy must be unique: \"{sid}\" is not"));
        }
    }
    Ok(Policy { statements })
}

type ReadTemplate = fn(&str) -> Result<Template, String>;

fn parse_statement(
    index: usize,
    statement: Json,
    kind: PolicyKind,
    template: ReadTemplate,
) -> Result<Statement, String> {
    let number = index + 1;
    let Json::Object(mut elements) = statement else { return Err(format!("Statement {number} is not an object")) };
    let sid = take_string(&mut elements, "Sid").map_err(|reason| format!("Statement {number}: {reason}"))?;
    let name = match &sid {
        Some(sid) => format!("Statement {number} (\"{sid}\")"),
        None => format!("Statement {number}"),
    };
    parse_elements(sid, elements, kind, template).map_err(|reason| format!("{name}: {reason}"))
}

fn parse_elements(
    sid: Option<String>,
    mut elements: Object,
    kind: PolicyKind,
    template: ReadTemplate,
) -> Result<Statement, String> {
    let effect = match take_string(&mut elements, "Effect")?.as_deref() {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        Some(effect) => return Err(format!("the effect \"{effect}\" is neither \"Allow\" nor \"Deny\"")),
        None => return Err("it has no Effect".into()),
    };
    let principals = parse_principals(&mut elements, kind, effect)?;
    let actions = parse_selection(&mut elements, "Action", |text| parse_action(text, kind))?;
    let resources = parse_selection(&mut elements, "Resource", |text| parse_resource(text, kind, template))?;
    let conditions = match take(&mut elements, "Condition") {
        Some(element) => Condition::parse_all(&element, template)?,
        None => Vec::new(),
    };
    if let Some((name, _)) = elements.first() {
        return Err(format!("unknown element \"{name}\""));
    }
    if kind == PolicyKind::Resource && conditions.iter().any(Condition::is_overly_permissive) {
        return Err(OVERLY_PERMISSIVE.into());
    }

    // AWS KMS accepts a statement of a key policy without these, which then says nothing.
    let may_say_nothing = kind == PolicyKind::Resource;
    let actions = match actions {
        None if !may_say_nothing => return Err("it has neither Action nor NotAction".into()),
        actions => actions.unwrap_or(Selection::Nothing),
    };
    let resources = match resources {
        None if kind == PolicyKind::Trust => Selection::Everything,
        Some(_) if kind == PolicyKind::Trust => {
            return Err("the resource of a trust policy is its role, so it has no Resource".into());
        }
        None if !may_say_nothing => return Err("it has neither Resource nor NotResource".into()),
        resources => resources.unwrap_or(Selection::Nothing),
    };
    Ok(Statement { sid, effect, principals, actions, resources, conditions })
}

fn parse_principals(elements: &mut Object, kind: PolicyKind, effect: Effect) -> Result<Principals, String> {
    let named = take(elements, "Principal");
    let excepted = take(elements, "NotPrincipal");
    match (kind, named, excepted) {
        (_, Some(_), Some(_)) => Err("it has both Principal and NotPrincipal".into()),
        (PolicyKind::Identity, None, None) => Ok(Principals::Implied),
        (PolicyKind::Identity, _, _) => Err("an identity policy names no principals".into()),
        (_, Some(named), None) => principal::parse(&named).map(Principals::Named),
        (PolicyKind::Trust, None, Some(_)) => Err("a trust policy has no NotPrincipal".into()),
        (PolicyKind::Resource, None, Some(excepted)) if effect == Effect::Deny => {
            principal::parse(&excepted).map(Principals::AllBut)
        }
        // It would allow everyone else in the world.
        (PolicyKind::Resource, None, Some(_)) => Err("NotPrincipal is supported with the effect \"Deny\" only".into()),
        (_, None, None) => Err("it has no Principal".into()),
    }
}

/// The element `name` or `Not` with `name`; an empty list is as good as none.
fn parse_selection<T>(
    elements: &mut Object,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Selection<T>>, String> {
    let not_name = format!("Not{name}");
    let (element, negated) = match (take(elements, name), take(elements, &not_name)) {
        (Some(_), Some(_)) => return Err(format!("it has both {name} and {not_name}")),
        (Some(element), None) => (element, false),
        (None, Some(element)) => (element, true),
        (None, None) => return Ok(None),
    };
    let texts = element
        .strings()
        .ok_or_else(|| format!("{} is no string or list of strings", if negated { &not_name } else { name }))?;
    let items = texts.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok((!items.is_empty()).then_some(if negated { Selection::NoneOf(items) } else { Selection::AnyOf(items) }))
}

fn parse_action(text: &str, kind: PolicyKind) -> Result<Vec<Token>, String> {
    if kind == PolicyKind::Identity && text != "*" && !text.contains(':') {
        return Err(format!("the action \"{text}\" names no service; write \"kms:{text}\""));
    }
    Ok(text.to_ascii_lowercase().chars().map(Token::parse).collect())
}

fn parse_resource(text: &str, kind: PolicyKind, template: ReadTemplate) -> Result<Template, String> {
    if kind == PolicyKind::Identity && text != "*" && !text.starts_with("arn:") {
        return Err(format!("the resource \"{text}\" is neither an ARN nor \"*\""));
    }
    let template = template(text)?;
    if template.has_variable_before_arn_resource() {
        return Err(format!("the resource \"{text}\" has a variable before its fifth colon"));
    }
    Ok(template)
}

fn take(object: &mut Object, name: &str) -> Option<Json> {
    let at = object.iter().position(|(member, _)| member == name)?;
    Some(object.remove(at).1)
}

fn take_string(object: &mut Object, name: &str) -> Result<Option<String>, String> {
    match take(object, name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is not a string")),
    }
}
