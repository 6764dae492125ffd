//! The terminal: takes it over, draws, reads keys, and gives it back however the view ends.

use std::io;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::is_raw_mode_enabled;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ask::Asker;
use super::draw::draw;
use super::rows::Id;
use super::state::{News, Order, Press, State};

/// News and keys that wait to be shown.
const WAITING: usize = 64;
/// Ages and toasts are drawn anew this often.
const TICK: Duration = Duration::from_secs(1);
/// How often the thread that reads keys looks whether the view has ended.
const KEYS: Duration = Duration::from_millis(200);

/// The terminal while it is ours.
struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal over; a panic gives it back before it tells.
    fn new() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic it is given back already: twice would put the cursor into the midst of what was told.
        if is_raw_mode_enabled().unwrap_or(true) {
            // There is nothing to be done about a terminal that has gone away.
            let _ = ratatui::try_restore();
        }
    }
}

/// The signals that end the view.
struct Ends([Signal; 4]);

impl Ends {
    fn new() -> io::Result<Self> {
        let of = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()];
        let [terminate, hang_up, interrupt, quit] = of.map(signal);
        Ok(Self([terminate?, hang_up?, interrupt?, quit?]))
    }

    async fn recv(&mut self) {
        let [terminate, hang_up, interrupt, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// What the view waits for.
struct Ears {
    keys: Receiver<io::Result<Event>>,
    news: Receiver<News>,
    session: watch::Sender<u64>,
    wanted: watch::Sender<Option<Id>>,
    askers: JoinSet<()>,
}

/// Shows the fleet until somebody quits.
pub(super) async fn show(server: &str, interval: Duration, is_coloured: bool) -> io::Result<()> {
    // Before the terminal is taken, so that no signal finds it taken and ends us.
    let mut ends = Ends::new()?;
    let mut state = State::new(server, is_coloured);
    state.old_after += SignedDuration::try_from(interval * 2).unwrap_or_default();
    let mut screen = Screen::new()?;
    let mut ears = listen(server, interval);
    let zone = TimeZone::system();
    let mut tick = tokio::time::interval(TICK);
    loop {
        state.resize(screen.0.size()?.height);
        screen.0.draw(|frame| draw(frame, &state, Timestamp::now(), &zone))?;
        let order = tokio::select! {
            () = ends.recv() => return Ok(()),
            _ = tick.tick() => Order::Nothing,
            key = ears.keys.recv() => take(&mut state, key.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?),
            // Those who ask end only with the view, or by a panic, which was told and gave the terminal back.
            Some(Err(ended)) = ears.askers.join_next() => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(ended) => return Err(io::Error::other(ended)),
            },
            Some(news) = ears.news.recv() => {
                state.hear(news, Timestamp::now());
                Order::Nothing
            }
        };
        if order == Order::Quit || ears.hear_all(&mut state)? == Order::Quit {
            return Ok(());
        }
        ears.tell(&state);
    }
}

/// Starts those who read keys and ask the aggregator.
fn listen(server: &str, interval: Duration) -> Ears {
    let (to_view, news) = channel(WAITING);
    let asker = Asker { server: server.to_owned(), interval, news: to_view };
    let (session, number) = watch::channel(0);
    let (wanted, of) = watch::channel(None);
    let mut askers = JoinSet::new();
    askers.spawn(asker.clone().power());
    askers.spawn(asker.clone().session(number));
    askers.spawn(asker.clone().slowly());
    askers.spawn(asker.detail(of));
    let (pressed, keys) = channel(WAITING);
    std::thread::spawn(move || read_keys(&pressed));
    Ears { keys, news, session, wanted, askers }
}

/// Reads keys until the view has ended or the terminal is gone.
fn read_keys(pressed: &Sender<io::Result<Event>>) {
    while !pressed.is_closed() {
        let read = match event::poll(KEYS) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let is_over = read.is_err();
        if pressed.blocking_send(read).is_err() || is_over {
            return;
        }
    }
}

impl Ears {
    /// Takes all that waits, so that it is drawn once.
    fn hear_all(&mut self, state: &mut State) -> io::Result<Order> {
        while let Ok(news) = self.news.try_recv() {
            state.hear(news, Timestamp::now());
        }
        while let Ok(key) = self.keys.try_recv() {
            if take(state, key?) == Order::Quit {
                return Ok(Order::Quit);
            }
        }
        Ok(Order::Nothing)
    }

    /// Lets those who ask know what is wanted now.
    fn tell(&self, state: &State) {
        self.session.send_if_modified(|number| std::mem::replace(number, state.session_number) != state.session_number);
        let wanted = state.wanted();
        self.wanted.send_if_modified(|old| {
            let is_other = *old != wanted;
            *old = wanted;
            is_other
        });
    }
}

fn take(state: &mut State, event: Event) -> Order {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            press(key).map_or(Order::Nothing, |key| state.press(key, Timestamp::now()))
        }
        // A new size is seen when it is drawn.
        _ => Order::Nothing,
    }
}

/// The key as the view knows it.
fn press(key: KeyEvent) -> Option<Press> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Press::Interrupt,
        KeyCode::Char('u') if is_control => Press::Clear,
        KeyCode::Char('f') if is_control => Press::PageDown,
        KeyCode::Char('b') if is_control => Press::PageUp,
        KeyCode::Char(_) if is_control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(letter) => Press::Char(letter),
        KeyCode::F(1) => Press::Char('?'),
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Escape,
        KeyCode::Backspace => Press::Backspace,
        KeyCode::Up => Press::Up,
        KeyCode::Down => Press::Down,
        KeyCode::PageUp => Press::PageUp,
        KeyCode::PageDown => Press::PageDown,
        KeyCode::Home => Press::Home,
        KeyCode::End => Press::End,
        _ => return None,
    })
}
