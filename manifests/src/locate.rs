//! Where things stand in a YAML text: what enters is the text, what leaves is an [`Outline`] per document, a tree of
//! positions without values, by which a field path is turned into line and column. It is read before the values are, so
//! that nesting, aliases and duplicate keys are judged before anything is expanded.

use crate::diagnostic::{Code, Diagnostic, Position};
use crate::object::DEPTH_MAX;
use crate::path::{FieldPath, Step};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// Most nodes of a document, counting what each alias stands for anew.
const NODES_MAX: u64 = 200_000;

/// The positions of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    start: Position,
    nodes: Vec<Node>,
}

/// Index into [`Outline::nodes`].
type NodeId = usize;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    at: Position,
    shape: Shape,
    /// How many nodes it is when every alias is written out.
    expanded: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Scalar { is_plain: bool, text: String },
    List(Vec<NodeId>),
    Mapping(Vec<Entry>),
    Alias(NodeId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    key_at: Position,
    value: NodeId,
}

/// What was read of a text.
#[derive(Debug)]
pub(crate) struct Outlines {
    /// The documents, in order, up to the first error.
    pub(crate) documents: Vec<Outline>,
    /// What is wrong regardless of what the values mean, each with its position.
    pub(crate) problems: Vec<Diagnostic>,
    /// Whether the values may be read: a bound that was exceeded forbids it.
    pub(crate) is_bounded: bool,
}

impl Outline {
    /// Where a field stands: its key, or the first character of a list's entry. If the path leads further than the text
    /// does, the last place on the way that is there.
    pub fn locate(&self, path: &FieldPath) -> Position {
        let mut position = self.start;
        let mut node = 0;
        for step in path.steps() {
            let Some((at, next)) = self.step(node, step) else { break };
            (position, node) = (at, next);
        }
        position
    }

    fn step(&self, node: NodeId, step: &Step) -> Option<(Position, NodeId)> {
        match (&self.nodes.get(self.resolved(node))?.shape, step) {
            (Shape::Mapping(entries), step) => {
                let index;
                let name = match step {
                    Step::Field(name) => name,
                    Step::Index(number) => {
                        index = number.to_string();
                        &index
                    }
                };
                if let Some(entry) = entries.iter().find(|entry| entry.key == *name) {
                    return Some((entry.key_at, entry.value));
                }
                let merged = entries.iter().find(|entry| entry.key == "<<")?;
                self.merged_step(merged.value, step)
            }
            (Shape::List(items), Step::Index(place)) => {
                let item = *items.get(*place)?;
                Some((self.nodes.get(item)?.at, item))
            }
            (Shape::List(_) | Shape::Scalar { .. } | Shape::Alias(_), _) => None,
        }
    }

    /// `<<: *one` or `<<: [*one, *two]`.
    fn merged_step(&self, node: NodeId, step: &Step) -> Option<(Position, NodeId)> {
        match &self.nodes.get(self.resolved(node))?.shape {
            Shape::List(items) => items.iter().find_map(|item| self.step(*item, step)),
            Shape::Mapping(_) => self.step(node, step),
            Shape::Scalar { .. } | Shape::Alias(_) => None,
        }
    }

    /// An alias leads to an earlier node, never to another alias, so that one step is enough.
    fn resolved(&self, node: NodeId) -> NodeId {
        match self.nodes.get(node).map(|node| &node.shape) {
            Some(Shape::Alias(target)) => *target,
            Some(Shape::Scalar { .. } | Shape::List(_) | Shape::Mapping(_)) | None => node,
        }
    }

    /// Plain texts, keys among them, that `kubectl`, which reads YAML 1.1, takes for something else than we do.
    pub(crate) fn ambiguous(&self) -> Vec<(Position, &str)> {
        let plain = self.nodes.iter().filter_map(|node| match &node.shape {
            Shape::Scalar { is_plain: true, text } => Some((node.at, text.as_str())),
            Shape::Scalar { .. } | Shape::List(_) | Shape::Mapping(_) | Shape::Alias(_) => None,
        });
        plain.filter(|(_, text)| is_ambiguous(text)).collect()
    }
}

fn is_ambiguous(text: &str) -> bool {
    let is_boolean = ["yes", "no", "on", "off"].iter().any(|word| {
        let mut capital = word.to_string();
        if let Some(first) = capital.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        text == *word || text == word.to_uppercase() || text == capital
    });
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    let is_grouped = digits.contains('_')
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    is_boolean || is_octal || is_grouped
}

/// Brackets open at once beyond which a text is not read at all: parsers look at all open ones for each further token, and
/// reading a hundred thousand would take minutes. More than may nest, since those in texts count too.
const BRACKETS_MAX: usize = 4 * DEPTH_MAX;

/// Where more brackets are open than may be, whatever they mean there.
fn bracketed(text: &str) -> Option<Position> {
    let (mut open, mut at) = (0_usize, Position { line: 1, column: 0 });
    for character in text.chars() {
        at.column += 1;
        match character {
            '[' | '{' => open += 1,
            ']' | '}' => open = open.saturating_sub(1),
            '\n' => at = Position { line: at.line + 1, column: 0 },
            _ => {}
        }
        if open > BRACKETS_MAX {
            return Some(at);
        }
    }
    None
}

fn too_deep() -> Diagnostic {
    let message = format!("mappings and lists are nested deeper than {DEPTH_MAX} levels");
    Diagnostic::error(Code::TooDeep, FieldPath::default(), message)
        .mend("no kind needs this: look for wrong indentation")
}

/// Reads the outlines of a text.
pub(crate) fn outlines(text: &str) -> Outlines {
    let mut read = Outlines { documents: Vec::new(), problems: Vec::new(), is_bounded: true };
    if let Some(at) = bracketed(text) {
        read.problems.push(placed(too_deep(), at));
        read.is_bounded = false;
        return read;
    }
    let mut parser = Parser::new_from_str(text);
    let mut tree: Option<Tree> = None;
    while let Some(Ok((event, span))) = parser.next_event() {
        match event {
            Event::DocumentStart(_) => tree = Some(Tree::new(position(span))),
            Event::DocumentEnd => {
                if let Some(tree) = tree.take() {
                    read.problems.extend(tree.problems);
                    read.documents.push(tree.outline);
                }
            }
            Event::StreamEnd => break,
            event @ (Event::Nothing
            | Event::StreamStart
            | Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd) => {
                let Some(tree) = &mut tree else { continue };
                if let Err(problem) = tree.take(event, span) {
                    read.problems.push(*problem);
                    read.is_bounded = false;
                    break;
                }
            }
        }
    }
    read
}

fn position(span: Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

/// A document that is being read.
struct Tree {
    outline: Outline,
    problems: Vec<Diagnostic>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, NodeId>,
    total: u64,
}

/// A mapping or list that has begun.
struct Open {
    node: NodeId,
    /// The key whose value comes next. A key that is not a scalar is kept without text.
    key: Option<(String, Position)>,
    seen: BTreeMap<String, Position>,
}

impl Tree {
    fn new(start: Position) -> Self {
        Self {
            outline: Outline { start, nodes: Vec::new() },
            problems: Vec::new(),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            total: 0,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        let at = position(span);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let shape = Shape::Scalar { is_plain: style == ScalarStyle::Plain, text: text.into_owned() };
                let node = self.push(at, shape, anchor)?;
                self.attach(node);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::SequenceStart(anchor, _) => self.begin(at, Shape::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.begin(at, Shape::Mapping(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                self.end();
                Ok(())
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn push(&mut self, at: Position, shape: Shape, anchor: usize) -> Result<NodeId, Box<Diagnostic>> {
        let node = self.outline.nodes.len();
        if node == 0 {
            self.outline.start = at;
        }
        self.outline.nodes.push(Node { at, shape, expanded: 1 });
        if anchor > 0 {
            self.anchors.insert(anchor, node);
        }
        self.grow(1, at)?;
        Ok(node)
    }

    fn grow(&mut self, nodes: u64, at: Position) -> Result<(), Box<Diagnostic>> {
        self.total = self.total.saturating_add(nodes);
        if self.total <= NODES_MAX {
            return Ok(());
        }
        let message =
            format!("the document has more than {NODES_MAX} values when its aliases are written out");
        let problem = Diagnostic::error(Code::TooManyAliases, FieldPath::default(), message);
        Err(Box::new(placed(problem.mend("split it, and write out what the aliases stand for"), at)))
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Box<Diagnostic>> {
        let target = self.anchors.get(&anchor).copied().unwrap_or_default();
        if self.open.iter().any(|open| open.node == target) {
            let problem =
                Diagnostic::error(Code::TooManyAliases, FieldPath::default(), "an alias contains itself");
            return Err(Box::new(placed(problem.mend("write out what it stands for"), at)));
        }
        let expanded = self.outline.nodes.get(target).map_or(1, |node| node.expanded);
        self.grow(expanded, at)?;
        let node = self.push(at, Shape::Alias(self.outline.resolved(target)), 0)?;
        if let Some(node) = self.outline.nodes.get_mut(node) {
            node.expanded = expanded;
        }
        self.attach(node);
        Ok(())
    }

    fn begin(&mut self, at: Position, shape: Shape, anchor: usize) -> Result<(), Box<Diagnostic>> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Box::new(placed(too_deep(), at)));
        }
        let node = self.push(at, shape, anchor)?;
        self.open.push(Open { node, key: None, seen: BTreeMap::new() });
        Ok(())
    }

    fn end(&mut self) {
        let Some(closed) = self.open.pop() else { return };
        self.attach(closed.node);
    }

    /// Gives a node that is whole to the mapping or list it stands in.
    fn attach(&mut self, child: NodeId) {
        let Some(open) = self.open.last_mut() else { return };
        let (text, child_at, expanded) = match self.outline.nodes.get(child) {
            Some(Node { shape: Shape::Scalar { text, .. }, at, expanded }) => {
                (Some(text.clone()), *at, *expanded)
            }
            Some(Node { at, expanded, .. }) => (None, *at, *expanded),
            None => return,
        };
        let Some(parent) = self.outline.nodes.get_mut(open.node) else { return };
        parent.expanded = parent.expanded.saturating_add(expanded);
        match (&mut parent.shape, open.key.take()) {
            (Shape::List(items), _) => items.push(child),
            (Shape::Mapping(_), None) => {
                let key = text.unwrap_or_default();
                if let Some(earlier) = open.seen.insert(key.clone(), child_at) {
                    let message = format!("the key `{key}` is in this mapping already, at {earlier}");
                    let problem = Diagnostic::error(Code::DuplicateKey, FieldPath::default(), message);
                    self.problems.push(placed(problem.mend("keep one of them"), child_at));
                }
                open.key = Some((key, child_at));
            }
            (Shape::Mapping(entries), Some((key, key_at))) => {
                entries.push(Entry { key, key_at, value: child })
            }
            (Shape::Scalar { .. } | Shape::Alias(_), _) => {}
        }
    }
}

fn placed(diagnostic: Diagnostic, at: Position) -> Diagnostic {
    Diagnostic { position: Some(at), ..diagnostic }
}
