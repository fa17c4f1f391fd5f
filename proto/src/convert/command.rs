//! Commands on the wire.
//! Never here: who may send one, or what comes of it.

use std::time::Duration;

use leakline_core::{Command, ProbeRequest, Window, WindowSource};

use super::{known, nanos, required};
use crate::error::DecodeError;
use crate::v1;

impl From<&Command> for v1::Command {
    fn from(command: &Command) -> Self {
        let body = match command {
            Command::SnapshotNow => v1::command::Body::SnapshotNow(v1::Empty {}),
            Command::ResetBaseline => v1::command::Body::ResetBaseline(v1::Empty {}),
            Command::SetInterval(interval) => v1::command::Body::SetIntervalNanos(nanos(*interval)),
            Command::Ask(ProbeRequest::OpenWindow(window)) => v1::command::Body::OpenWindow(window.into()),
            Command::Ask(ProbeRequest::CloseWindow) => v1::command::Body::CloseWindow(v1::Empty {}),
            Command::Ask(ProbeRequest::Census) => v1::command::Body::Census(v1::Empty {}),
            Command::Ask(ProbeRequest::Cycles) => v1::command::Body::Cycles(v1::Empty {}),
        };
        Self { body: Some(body) }
    }
}

impl TryFrom<v1::Command> for Command {
    type Error = DecodeError;

    fn try_from(command: v1::Command) -> Result<Self, DecodeError> {
        Ok(match required(command.body, "Command.body")? {
            v1::command::Body::SnapshotNow(_) => Self::SnapshotNow,
            v1::command::Body::ResetBaseline(_) => Self::ResetBaseline,
            v1::command::Body::SetIntervalNanos(0) => {
                let reason = "an interval is longer than nothing";
                return Err(DecodeError::Invalid { reason, field: "Command.set_interval_nanos" });
            }
            v1::command::Body::SetIntervalNanos(interval) => {
                Self::SetInterval(Duration::from_nanos(interval))
            }
            v1::command::Body::OpenWindow(window) => Self::Ask(ProbeRequest::OpenWindow(window.try_into()?)),
            v1::command::Body::CloseWindow(_) => Self::Ask(ProbeRequest::CloseWindow),
            v1::command::Body::Census(_) => Self::Ask(ProbeRequest::Census),
            v1::command::Body::Cycles(_) => Self::Ask(ProbeRequest::Cycles),
        })
    }
}

impl From<&Window> for v1::Window {
    fn from(window: &Window) -> Self {
        let source = match window.source {
            WindowSource::Exact => v1::window::Source::Exact,
            WindowSource::Tracemalloc => v1::window::Source::Tracemalloc,
        };
        Self {
            source: source.into(),
            frames: window.frames.map(u32::from),
            duration_nanos: nanos(window.duration),
            max_traces: window.max_traces,
        }
    }
}

impl TryFrom<v1::Window> for Window {
    type Error = DecodeError;

    fn try_from(window: v1::Window) -> Result<Self, DecodeError> {
        let source = match known(window.source, "Window.source")? {
            v1::window::Source::Unspecified => return Err(DecodeError::Missing("Window.source")),
            v1::window::Source::Exact => WindowSource::Exact,
            v1::window::Source::Tracemalloc => WindowSource::Tracemalloc,
        };
        if window.duration_nanos == 0 {
            return Err(DecodeError::Missing("Window.duration_nanos"));
        }
        let frames = window.frames.map(u16::try_from).transpose().map_err(|_| DecodeError::Invalid {
            reason: "no call path has so many frames",
            field: "Window.frames",
        })?;
        let duration = Duration::from_nanos(window.duration_nanos);
        Ok(Self { source, frames, duration, max_traces: window.max_traces })
    }
}
