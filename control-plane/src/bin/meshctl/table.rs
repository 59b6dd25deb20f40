//! Rows and columns on a terminal.
//!
//! Enters: headings and cells. Leaves: aligned text as `kubectl` prints it. Never here: where the cells come from.

use serde_json::Value;

/// A table ready to print.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { headings: headings.iter().map(|&heading| heading.to_owned()).collect(), rows: Vec::new() }
    }

    /// A `meta.k8s.io/v1` Table of the server: the columns of priority 0, all of them when `wide`, and the namespace in
    /// front when `with_namespace`.
    pub(crate) fn from_server(answer: &Value, wide: bool, with_namespace: bool) -> Self {
        let list = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let columns = list(answer, "columnDefinitions");
        let shown: Vec<bool> = columns
            .iter()
            .map(|column| wide || column.get("priority").and_then(Value::as_i64).unwrap_or(0) == 0)
            .collect();
        let chosen = |cells: Vec<String>| -> Vec<String> {
            cells.into_iter().zip(&shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell).collect()
        };
        let mut headings =
            chosen(columns.iter().map(|column| text(&column["name"]).to_uppercase()).collect());
        if with_namespace {
            headings.insert(0, "NAMESPACE".to_owned());
        }
        let row = |row: &Value| {
            let mut cells = chosen(list(row, "cells").iter().map(text).collect());
            if with_namespace {
                cells.insert(0, row.pointer("/object/metadata/namespace").map(text).unwrap_or_default());
            }
            cells
        };
        Self { headings, rows: list(answer, "rows").iter().map(row).collect() }
    }

    /// The text, each line ended, columns three spaces apart and nothing behind the last.
    pub(crate) fn render(&self) -> String {
        let lines = || std::iter::once(&self.headings).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut out = String::new();
        for line in lines() {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(&format!("{cell:width$}   "));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned_and_wide_ones_only_on_request() {
        let answer = json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Age", "priority": 0}, {"name": "Selector", "priority": 1}],
            "rows": [
                {"cells": ["orders", "5m", "app=orders"], "object": {"metadata": {"namespace": "shop"}}},
                {"cells": ["a", 7, null], "object": {"metadata": {"namespace": "default"}}},
            ],
        });
        let narrow = Table::from_server(&answer, false, false).render();
        assert_eq!(narrow, "NAME     AGE\norders   5m\na        7\n");
        let wide = Table::from_server(&answer, true, true).render();
        assert_eq!(
            wide,
            "NAMESPACE   NAME     AGE   SELECTOR\nshop        orders   5m    app=orders\ndefault     a        7\n"
        );
    }
}
