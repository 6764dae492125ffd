//! Which GPUs and modules there are, and how their accounts are declared.

use meter::{AccountKey, DeviceDecl, Scope};

use super::super::FoundDevice;
use super::super::file::{boot_epoch, device_name};
use super::kernel;
use super::library::{Board, Library};
use super::reading;
use super::{Gpu, Nvml, Session};

/// Why a GPU is not read.
enum LeftOut {
    /// For now.
    Passing(String),
    /// As long as it is there.
    Always(String),
}

impl Nvml {
    /// Declares every GPU anew; what was found, and what was left out and why.
    pub(super) fn enumerate(&mut self, library: &dyn Library) -> (Vec<FoundDevice>, Vec<String>) {
        let before = self.devices.clone();
        (self.gpus, self.unread, self.devices) = (Vec::new(), Vec::new(), Vec::new());
        self.until_rescan = self.rescan;
        let (found, left_out) = self.adopt_all(library, 0..self.session.seen.count);
        self.note_gone(&before);
        (found, left_out)
    }

    /// Nothing is there any more.
    pub(super) fn forget(&mut self) {
        let before = std::mem::take(&mut self.devices);
        (self.gpus, self.unread) = (Vec::new(), Vec::new());
        self.note_gone(&before);
    }

    /// Remembers which devices of `before` are not there any more: if one returns, its counter began anew.
    fn note_gone(&mut self, before: &[DeviceDecl]) {
        for gone in before.iter().filter(|gone| self.devices.iter().all(|device| device.key != gone.key)) {
            tracing::warn!(device = %gone.key, "it is not there any more");
            *self.losses.entry(gone.key.device.to_string()).or_default() += 1;
        }
    }

    /// Declares these GPUs and their modules.
    pub(super) fn adopt_all(
        &mut self,
        library: &dyn Library,
        numbers: impl IntoIterator<Item = u32>,
    ) -> (Vec<FoundDevice>, Vec<String>) {
        let (mut found, mut left_out, first) = (Vec::new(), Vec::new(), self.gpus.len());
        for index in numbers {
            match self.adopt(library, index) {
                Ok(device) => found.extend(device),
                Err(LeftOut::Always(why)) => left_out.push(format!("GPU {index}: {why}")),
                Err(LeftOut::Passing(why)) => {
                    self.unread.push(index);
                    left_out.push(format!("GPU {index}: {why}"));
                }
            }
        }
        for gpu in first..self.gpus.len() {
            match self.adopt_module(library, gpu) {
                Ok(device) => found.extend(device),
                Err(why) => left_out.push(why),
            }
        }
        (found, left_out)
    }

    /// Declares one GPU; nothing is found if only its module is measured.
    fn adopt(&mut self, library: &dyn Library, index: u32) -> Result<Option<FoundDevice>, LeftOut> {
        let mut board = library.describe(index).map_err(|error| LeftOut::Passing(error.to_string()))?;
        // Boards without a CPU may have the links, unused, but no module that is measured.
        board.superchip = board.superchip && reading::module_limit(library, &board).is_some();
        // A shared stand-in such as `GPU-0` would pour two machines' GPUs into one account.
        let name = device_name(&if board.uuid.is_empty() { board.pci() } else { board.uuid.clone() });
        if name.is_empty() {
            return Err(LeftOut::Always("it has neither UUID nor PCI address".into()));
        }
        let key = AccountKey::new(Scope::Gpu, &name).map_err(|error| LeftOut::Always(error.to_string()))?;
        if self.devices.iter().any(|known| known.key == key) {
            return Err(LeftOut::Always(format!("{key} is there already")));
        }
        let counts = !board.superchip && reading::has_counter(library, &board);
        let may_sleep = kernel::may_sleep(&self.roots.sys, &board.pci());
        let mut gpu = Gpu { board, place: None, module: None, may_sleep, counts, skip: None, failing: false };
        if gpu.board.superchip && !reading::has_own_power(library, &gpu.board) {
            self.gpus.push(gpu);
            return Ok(None);
        }
        let epoch = if counts { self.epoch(&gpu.board, &name) } else { 0 };
        let limit = reading::limit(Ok(Ok(gpu.board.limit_mw.into())));
        let decl = DeviceDecl { key, period_ns: self.period_ns, limit, modulus: None, epoch };
        gpu.place = Some(self.place()?);
        let about = about(&gpu, &self.session.version);
        self.gpus.push(gpu);
        self.devices.push(decl.clone());
        Ok(Some(FoundDevice { decl, about, now: None }))
    }

    /// Declares the module of a superchip's GPU, unless another GPU of it has been there before.
    fn adopt_module(&mut self, library: &dyn Library, gpu: usize) -> Result<Option<FoundDevice>, String> {
        let board = &self.gpus[gpu].board;
        if !board.superchip {
            return Ok(None);
        }
        let Some(limit) = reading::module_limit(library, board) else { return Ok(None) };
        let superchips = self.gpus.iter().filter(|gpu| gpu.board.superchip).count();
        let socket = kernel::socket(&self.roots.sys, &board.pci()).or((superchips == 1).then_some(0));
        // Two GPUs of a GB200 show the same module: taken for two it would be billed twice.
        let socket =
            socket.ok_or_else(|| format!("the module of {}: the kernel does not say its socket", board.uuid))?;
        let key = AccountKey::new(Scope::Other, &format!("module-{socket}")).map_err(|error| error.to_string())?;
        if let Some(place) = (0_u16..).zip(&self.devices).find(|(_, known)| known.key == key).map(|(place, _)| place) {
            self.gpus[gpu].module = Some(place);
            return Ok(None);
        }
        let about =
            format!("the module of {}, its CPU and memory included, driver {}", board.name, self.session.version);
        let decl = DeviceDecl { key, period_ns: self.period_ns, limit, modulus: None, epoch: 0 };
        self.gpus[gpu].module = Some(self.place().map_err(|_| "too many devices")?);
        self.devices.push(decl.clone());
        Ok(Some(FoundDevice { decl, about, now: None }))
    }

    /// The place of the next device.
    fn place(&self) -> Result<u16, LeftOut> {
        u16::try_from(self.devices.len()).map_err(|_| LeftOut::Always("too many devices".into()))
    }

    /// What a GPU's counter counts from.
    pub(super) fn epoch(&self, board: &Board, name: &str) -> u64 {
        let Session { version, id, seen } = &self.session;
        let load = format!("nvml/{version}/{}", seen.load);
        match self.losses.get(name) {
            None if board.persistent => boot_epoch(&self.roots.proc, &load),
            losses => boot_epoch(&self.roots.proc, &format!("{load}/{id}/{}", losses.unwrap_or(&0))),
        }
    }
}

fn about(gpu: &Gpu, version: &str) -> String {
    let mut text = format!("{} at {}, driver {version}", gpu.board.name, gpu.board.pci());
    if gpu.board.superchip {
        text.push_str(", power only: a superchip's counter may be its module's");
    } else if !gpu.counts {
        text.push_str(", no energy counter");
    }
    if gpu.board.mig {
        text.push_str(", MIG: the board's energy, instances have none of their own");
    }
    text
}
