//! A further process of `linerate serve`, which the first one starts: `linerate agent --serve`.

use crate::cancel::Cancel;
use crate::error::{ExitClass, Failure};
use crate::lines::{Line, read_line, write_line};
use crate::plan::ServePlan;
use crate::serve::{Limit, ListenerState, Said, ServeCounts, ServeObserver, Share, Told, run};
use std::io::{BufReader, Read, Write};

/// Serves what the first line of `input` says, until that ends.
pub fn main(input: impl Read + Send + 'static, mut output: impl Write) -> ExitClass {
    let (mut reader, mut buffer) = (BufReader::new(input), Vec::new());
    let Ok(Line::Message(Told::Serve(request))) = read_line(&mut reader, &mut buffer) else {
        return ExitClass::Usage;
    };
    let cancel = Cancel::new();
    let own = cancel.clone();
    // Ends with the input, or with the process.
    std::thread::spawn(move || {
        if let Ok(Line::Message(Told::Stop)) = read_line(&mut reader, &mut buffer) {
            own.raise();
            let _: Result<Line<Told>, _> = read_line(&mut reader, &mut buffer);
        }
        own.raise();
        own.raise();
    });
    let served = ServePlan::new(*request)
        .map_err(|error| Failure::usage(error.to_string()))
        .and_then(|plan| {
            let share = Share {
                processes: 1,
                max_connections: plan.max_connections,
                shares_port: true,
            };
            run(&plan, share, &mut Announce(&mut output), &cancel)
        });
    let (said, class) = match served {
        Ok(totals) => (Said::Totals(totals), ExitClass::Done),
        Err(failure) => {
            let class = failure.class;
            (Said::Failed(failure), class)
        }
    };
    // The first process may be gone.
    let _ = write_line(&mut output, &said);
    class
}

/// Says what happens.
struct Announce<'a, W: Write>(&'a mut W);

impl<W: Write> Announce<'_, W> {
    fn say(&mut self, said: &Said) {
        // Who is gone has closed the input too.
        let _ = write_line(self.0, said);
    }
}

impl<W: Write> ServeObserver for Announce<'_, W> {
    fn listening(&mut self, _: &[ListenerState]) {
        self.say(&Said::Ready);
    }

    fn every_second(&mut self, counts: &[(String, ServeCounts)]) {
        self.say(&Said::Counts(counts.to_vec()));
    }

    fn full(&mut self, id: &str, limit: Limit) {
        self.say(&Said::Full(id.to_owned(), limit));
    }
}
