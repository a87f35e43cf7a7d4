//! Another implementation of TLS: a program with pipes.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::support::PATIENCE;

/// A running program and what it has printed so far. It ends with the test.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it printed on its standard output and on its standard error, each in order.
    printed: [Arc<Printed>; 2],
}

#[derive(Default)]
struct Printed {
    text: Mutex<(Vec<u8>, bool)>,
    more: Condvar,
}

impl Program {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take();
        let out = Printed::read(child.stdout.take().expect("piped"));
        let err = Printed::read(child.stderr.take().expect("piped"));
        Self { child, stdin, printed: [out, err] }
    }

    /// Whether this machine has the program; if not, says what is not checked for the lack of it.
    pub(crate) fn is_installed(name: &str, argument: &str) -> bool {
        let found = Command::new(name).arg(argument).output().is_ok_and(|output| output.status.success());
        if !found {
            println!("not checked: no {name}");
        }
        found
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("not ended");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the program reads");
    }

    /// Ends its standard input.
    pub(crate) fn end(&mut self) {
        self.stdin = None;
    }

    /// What follows `word` on the first line of its standard output that has it.
    pub(crate) fn after(&self, word: &str) -> String {
        let [out, err] = &self.printed;
        out.after(word).unwrap_or_else(|| panic!("no `{word}` in\n{}\n{}", out.all(), err.all()))
    }

    /// Waits until it has printed the bytes on its standard output.
    pub(crate) fn expect(&self, bytes: &[u8]) {
        let [out, err] = &self.printed;
        assert!(out.find(bytes).is_some(), "no {bytes:?} in\n{}\n{}", out.all(), err.all());
    }

    /// Waits until it has complained of this on its standard error.
    pub(crate) fn expect_complaint(&self, word: &str) {
        let [out, err] = &self.printed;
        assert!(err.find(word.as_bytes()).is_some(), "no `{word}` in\n{}\n{}", err.all(), out.all());
    }

    /// Waits for its end; everything it printed, the standard error last.
    pub(crate) fn finish(mut self) -> String {
        let all = self.printed.each_ref().map(|printed| {
            printed.find(b"\0never printed\0");
            printed.all()
        });
        self.child.wait().expect("it ended");
        all.join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Printed {
    fn read(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let printed = Arc::new(Self::default());
        let reader = printed.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let len = pipe.read(&mut buffer).unwrap_or(0);
                let mut text = reader.text.lock().unwrap_or_else(PoisonError::into_inner);
                text.0.extend_from_slice(&buffer[..len]);
                text.1 = len == 0;
                reader.more.notify_all();
                if len == 0 {
                    return;
                }
            }
        });
        printed
    }

    /// Where the bytes end; `None` if the pipe ended without them.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |text: &[u8]| text.windows(bytes.len()).position(|window| window == bytes);
        let (text, waited) = self
            .more
            .wait_timeout_while(text, PATIENCE, |(text, ended)| place(text).is_none() && !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "waited for {bytes:?} in {}", String::from_utf8_lossy(&text.0));
        place(&text.0).map(|at| at + bytes.len())
    }

    fn after(&self, word: &str) -> Option<String> {
        let start = self.find(word.as_bytes())?;
        let line = |text: &[u8]| text[start..].iter().position(|byte| *byte == b'\n').map(|len| start + len);
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, _) = self
            .more
            .wait_timeout_while(text, PATIENCE, |(text, ended)| line(text).is_none() && !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        Some(String::from_utf8_lossy(&text.0[start..line(&text.0)?]).trim().to_owned())
    }

    fn all(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text.0).into_owned()
    }
}
