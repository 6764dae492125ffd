//! A page as a browser reads it: valid HTML, nothing fetched, nothing run.

use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

/// What is in a page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The text, as it is read.
    pub(crate) text: String,
    /// The elements by name, in order.
    pub(crate) elements: Vec<String>,
}

impl Page {
    /// How many elements there are of a name.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.elements.iter().filter(|element| *element == name).count()
    }
}

/// Reads a page; fails if it is no valid HTML, has a script, or would fetch anything.
pub(crate) fn read(html: &str) -> Page {
    let options = ParseOpts::default();
    let dom = parse_document(RcDom::default(), options).one(html);
    let errors = dom.errors.borrow();
    assert!(errors.is_empty(), "{errors:?}");
    let mut page = Page::default();
    walk(&dom.document, &mut page);
    for name in ["html", "head", "body", "main", "h1"] {
        assert_eq!(page.count(name), 1, "{name}");
    }
    assert!(!html.contains("@import") && !html.contains("url("), "the style fetches something");
    page
}

fn walk(node: &Handle, page: &mut Page) {
    match &node.data {
        NodeData::Text { contents } => page.text.push_str(&contents.borrow()),
        NodeData::Element { name, attrs, .. } => {
            let element = name.local.to_string();
            assert!(!["script", "iframe", "object", "embed", "form", "img"].contains(&element.as_str()), "<{element}>");
            for attribute in attrs.borrow().iter() {
                let (key, value) = (attribute.name.local.to_string(), attribute.value.to_string());
                assert!(!key.starts_with("on"), "{key} runs a script");
                let fetches = matches!(key.as_str(), "src" | "href" | "srcset" | "data" | "poster");
                assert!(!fetches || value.starts_with("data:") || value.starts_with('#'), "{key}={value} is fetched");
            }
            page.elements.push(element);
            page.text.push(' ');
        }
        _ => {}
    }
    if matches!(&node.data, NodeData::Element { name, .. } if &*name.local == "style") {
        return;
    }
    node.children.borrow().iter().for_each(|child| walk(child, page));
}
