//! Makes relative paths absolute: they start at the configuration file's folder.

use std::path::{Path, PathBuf};

use super::model::Config;

/// Makes every path of the configuration absolute.
pub(super) fn resolve(config: &mut Config, base: &Path) {
    config.data_dir = base.join(&config.data_dir);
    for service in config.services.values_mut() {
        if let Some(mcp) = &mut service.mcp
            && !mcp.command.is_empty()
        {
            working_directory(&mut mcp.cwd, base);
            program(&mut mcp.command, base);
        }
        if let Some(openapi) = &mut service.openapi
            && !openapi.document.is_empty()
            && !is_url(&openapi.document)
        {
            let path = openapi.document.strip_prefix("file://").unwrap_or(&openapi.document);
            openapi.document = base.join(path).display().to_string();
        }
        if let Some(process) = &mut service.process {
            working_directory(&mut process.cwd, base);
            for tool in process.tools.values_mut() {
                program(&mut tool.argv, base);
            }
        }
    }
    if let Some(consul) = &mut config.registry.consul {
        for file in [&mut consul.ca_file, &mut consul.cert_file, &mut consul.key_file].into_iter().flatten() {
            *file = base.join(&*file);
        }
    }
    for path in &mut config.flows.definitions {
        *path = base.join(&*path);
    }
    for child in config.children.values_mut() {
        working_directory(&mut child.cwd, base);
        program(&mut child.command, base);
    }
}

/// Whether a document is fetched rather than read.
pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn working_directory(cwd: &mut Option<PathBuf>, base: &Path) {
    *cwd = Some(cwd.as_ref().map_or_else(|| base.to_path_buf(), |cwd| base.join(cwd)));
}

/// A program with a folder in its name (`./server`) is found from the file's folder, one without in `PATH`.
fn program(command: &mut [String], base: &Path) {
    if let Some(program) = command.first_mut()
        && program.contains('/')
        && !program.contains('{')
    {
        *program = base.join(&*program).display().to_string();
    }
}
