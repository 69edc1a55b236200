//! The forms of tools, each made once: reading a schema costs more than filling it in.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use trunkline_discovery::ToolEntry;
use trunkline_discovery::arguments::Form;
use trunkline_model::Json;

/// The most forms that are kept.
const MOST: usize = 1_024;

/// The forms that were used.
#[derive(Default)]
pub(crate) struct Forms {
    kept: Mutex<HashMap<Arc<str>, Kept>>,
}

struct Kept {
    /// What the tool said of itself when its form was made.
    listed: Json,
    form: Arc<Form>,
}

impl Forms {
    /// The form of a tool, made anew where the tool has changed.
    pub(super) fn of(&self, entry: &ToolEntry) -> Arc<Form> {
        let known = |kept: &Kept| (kept.listed == entry.listed).then(|| kept.form.clone());
        let kept = self.kept.lock().get(&entry.name).and_then(known);
        if let Some(form) = kept {
            return form;
        }
        let spec = entry.tool.spec();
        let form = Arc::new(Form::new(&spec.name, &spec.description, &spec.input));
        let mut all = self.kept.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(entry.name.clone(), Kept { listed: entry.listed.clone(), form: form.clone() });
        form
    }
}
