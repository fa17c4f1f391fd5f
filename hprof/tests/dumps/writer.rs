//! Writes small heap dumps from a few lines of text, with identifiers of four or eight bytes.
//! For tests only: knows no more of the form than they need.
//!
//! ```text
//! class A : B loader=l static.KEPT=a next:L n:I    a class, its superclass, loader, static and other fields
//! new a A next=b n=3                               an instance; fields that are not named are null or 0
//! array x A[] a b null                             an array of objects
//! bytes x 5                                        a byte[]
//! string s some_text                               a java.lang.String
//! thread 1 t Holder.hold:7 Holder.main:12          a running thread with its stack
//! root 03 x 1 0                                    a root of that kind, with thread and frame where it has them
//! info                                             ART's HEAP DUMP INFO
//! segment                                          what follows is in a segment of its own
//! ```

use std::collections::BTreeMap;

/// How the dump is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) id_bytes: u8,
    /// `1.0.2` is HotSpot's, `1.0.3` ART's.
    pub(crate) version: &'static str,
    /// One HEAP DUMP instead of segments.
    pub(crate) whole: bool,
}

/// What HotSpot writes.
pub(crate) const HOTSPOT: Form = Form { id_bytes: 8, version: "1.0.2", whole: false };
/// What HotSpot of 32 bits writes.
pub(crate) const SMALL: Form = Form { id_bytes: 4, version: "1.0.1", whole: true };
/// What ART writes.
pub(crate) const ART: Form = Form { id_bytes: 4, version: "1.0.3", whole: false };

/// Fields of a class, superclasses' behind them: name and type.
type Fields = Vec<(String, char)>;

struct Writer {
    form: Form,
    ids: BTreeMap<String, u64>,
    fields: BTreeMap<String, Fields>,
    serials: u32,
    frames: u64,
    records: Vec<u8>,
    heap: Vec<u8>,
}

/// The dump that `text` describes.
pub(crate) fn dump(form: Form, text: &str) -> Vec<u8> {
    let mut writer = Writer {
        form,
        ids: BTreeMap::new(),
        fields: BTreeMap::new(),
        serials: 0,
        frames: 0,
        records: Vec::new(),
        heap: Vec::new(),
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [what, rest @ ..] = words.as_slice() {
            writer.line(what, rest);
        }
    }
    writer.segment();
    let mut out = format!("JAVA PROFILE {}\0", form.version).into_bytes();
    out.extend(u32::from(form.id_bytes).to_be_bytes());
    out.extend([0; 8]);
    out.extend(writer.records);
    if !form.whole {
        out.extend([0x2c, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    out
}

impl Writer {
    fn line(&mut self, what: &str, words: &[&str]) {
        match what {
            "class" => self.class(words),
            "new" => self.instance(words),
            "array" => self.array(words),
            "bytes" => self.bytes(words[0], &vec![b'x'; words[1].parse().expect("a length")]),
            "string" => {
                self.bytes(&format!("{}'s", words[0]), words[1].replace('_', " ").as_bytes());
                self.instance(&[words[0], "java.lang.String", &format!("value={}'s", words[0])]);
            }
            "thread" => self.thread(words),
            "root" => self.root(words),
            "info" => {
                let name = self.name("zygote");
                self.heap.extend([0xfe, 0, 0, 0, 1]);
                self.heap.extend(name);
            }
            "segment" => self.segment(),
            other => panic!("no such line: {other}"),
        }
    }

    fn bytes_of(&self, id: u64) -> Vec<u8> {
        id.to_be_bytes()[8 - usize::from(self.form.id_bytes)..].to_vec()
    }

    /// Objects stand 24 bytes apart, in the order in which they are first spoken of.
    fn id(&mut self, name: &str) -> Vec<u8> {
        if name == "null" {
            return self.bytes_of(0);
        }
        let next = 0x1000 + 24 * self.ids.len() as u64;
        let id = *self.ids.entry(name.to_owned()).or_insert(next);
        self.bytes_of(id)
    }

    fn record(&mut self, tag: u8, body: &[u8]) {
        self.records.push(tag);
        self.records.extend([0; 4]);
        self.records.extend((body.len() as u32).to_be_bytes());
        self.records.extend(body);
    }

    /// The identifier of a text, which is written if it is new.
    fn name(&mut self, text: &str) -> Vec<u8> {
        let key = format!("text {text}");
        let is_new = !self.ids.contains_key(&key);
        let id = self.id(&key);
        if is_new {
            let body = [&id[..], text.as_bytes()].concat();
            self.record(0x01, &body);
        }
        id
    }

    fn load(&mut self, class: &str) -> u32 {
        self.serials += 1;
        let written = match (class, self.form.version) {
            (name, "1.0.3") => name.to_owned(),
            (name, _) => match name.strip_suffix("[]") {
                Some(element) => format!("[L{};", element.replace('.', "/")),
                None => name.replace('.', "/"),
            },
        };
        let (id, name) = (self.id(class), self.name(&written));
        let body = [&self.serials.to_be_bytes()[..], &id, &[0; 4], &name].concat();
        self.record(0x02, &body);
        self.serials
    }

    fn class(&mut self, words: &[&str]) {
        let class = words[0];
        self.load(class);
        let (mut superclass, mut loader) = ("null", "null");
        let (mut statics, mut own, mut static_count) = (Vec::new(), Fields::new(), 0_u16);
        let mut rest = words[1..].iter();
        while let Some(word) = rest.next() {
            if *word == ":" {
                superclass = rest.next().expect("a superclass");
            } else if let Some(name) = word.strip_prefix("loader=") {
                loader = name;
            } else if let Some(field) = word.strip_prefix("static.") {
                let (field, value) = field.split_once('=').expect("a value");
                let (field, value) = (self.name(field), self.id(value));
                statics.extend([field, vec![2], value].concat());
                static_count += 1;
            } else {
                let (field, kind) = word.split_once(':').expect("a type");
                own.push((field.to_owned(), kind.chars().next().expect("a type")));
            }
        }
        let (id, above, loader) = (self.id(class), self.id(superclass), self.id(loader));
        let mut described = Vec::new();
        for (field, kind) in &own {
            described.extend(self.name(field));
            described.push(code(*kind));
        }
        let own_count = own.len() as u16;
        let mut all = own;
        all.extend(self.fields.get(superclass).cloned().unwrap_or_default());
        let size = all.iter().map(|(_, kind)| self.width(*kind) as u32).sum::<u32>();
        self.fields.insert(class.to_owned(), all);
        let empty = self.bytes_of(0).repeat(4);
        // One entry of the constant pool and one static int, so that both are passed over.
        let count = (static_count + 1).to_be_bytes();
        let number = [self.name("N"), vec![10, 0, 0, 0, 7]].concat();
        for part in [
            &[0x20][..],
            &id,
            &[0; 4],
            &above,
            &loader,
            &empty,
            &size.to_be_bytes(),
            &[0, 1, 0, 1, 11, 0, 0, 0, 0, 0, 0, 0, 0],
            &count,
            &number,
            &statics,
            &own_count.to_be_bytes(),
            &described,
        ] {
            self.heap.extend(part);
        }
    }

    fn width(&self, kind: char) -> usize {
        match kind {
            'L' => usize::from(self.form.id_bytes),
            'Z' | 'B' => 1,
            'C' | 'S' => 2,
            'I' | 'F' => 4,
            _ => 8,
        }
    }

    fn instance(&mut self, words: &[&str]) {
        let values: BTreeMap<&str, &str> =
            words[2..].iter().map(|word| word.split_once('=').expect("a value")).collect();
        let mut data = Vec::new();
        for (field, kind) in self.fields.get(words[1]).expect("the class comes first").clone() {
            match values.get(&*field) {
                Some(value) if kind == 'L' => data.extend(self.id(value)),
                Some(value) => {
                    let value: u64 = value.parse().expect("a number");
                    data.extend(&value.to_be_bytes()[8 - self.width(kind)..]);
                }
                None => data.extend(vec![0; self.width(kind)]),
            }
        }
        let (id, class) = (self.id(words[0]), self.id(words[1]));
        let length = (data.len() as u32).to_be_bytes();
        self.heap.extend([&[0x21][..], &id, &[0; 4], &class, &length, &data].concat());
    }

    fn array(&mut self, words: &[&str]) {
        if !self.ids.contains_key(words[1]) {
            self.load(words[1]);
        }
        let (id, class) = (self.id(words[0]), self.id(words[1]));
        let elements: Vec<u8> = words[2..].iter().flat_map(|word| self.id(word)).collect();
        let length = (words.len() as u32 - 2).to_be_bytes();
        self.heap.extend([&[0x22][..], &id, &[0; 4], &length, &class, &elements].concat());
    }

    fn bytes(&mut self, name: &str, data: &[u8]) {
        let id = self.id(name);
        let length = (data.len() as u32).to_be_bytes();
        self.heap.extend([&[0x23][..], &id, &[0; 4], &length, &[8], data].concat());
    }

    fn thread(&mut self, words: &[&str]) {
        let serial: u32 = words[0].parse().expect("a number");
        let mut frames = Vec::new();
        for place in &words[2..] {
            let (method, line) = place.split_once(':').expect("a line");
            let (class, method) = method.rsplit_once('.').expect("a class");
            let class_serial = self.load(class);
            self.frames += 1;
            let id = self.bytes_of(self.frames);
            let (method, none) = (self.name(method), self.bytes_of(0));
            let line: i32 = line.parse().expect("a number");
            let numbers = [class_serial.to_be_bytes(), line.to_be_bytes()].concat();
            self.record(0x04, &[&id[..], &method, &none, &none, &numbers].concat());
            frames.extend(id);
        }
        let count = (words.len() as u32 - 2).to_be_bytes();
        let trace = 100 + serial;
        let body = [&trace.to_be_bytes()[..], &serial.to_be_bytes(), &count, &frames].concat();
        self.record(0x05, &body);
        let id = self.id(words[1]);
        self.heap.extend([&[0x08][..], &id, &serial.to_be_bytes(), &trace.to_be_bytes()].concat());
    }

    fn root(&mut self, words: &[&str]) {
        let tag = u8::from_str_radix(words[0], 16).expect("a tag");
        self.heap.push(tag);
        let id = self.id(words[1]);
        self.heap.extend(id);
        if tag == 1 {
            let reference = self.bytes_of(77);
            self.heap.extend(reference);
        }
        for number in &words[2..] {
            self.heap.extend(number.parse::<u32>().expect("a number").to_be_bytes());
        }
    }

    fn segment(&mut self) {
        let heap = std::mem::take(&mut self.heap);
        self.record(if self.form.whole { 0x0c } else { 0x1c }, &heap);
    }
}

fn code(kind: char) -> u8 {
    match kind {
        'L' => 2,
        'Z' => 4,
        'C' => 5,
        'F' => 6,
        'D' => 7,
        'B' => 8,
        'S' => 9,
        'I' => 10,
        _ => 11,
    }
}
