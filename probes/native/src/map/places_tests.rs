use super::*;
use crate::map::text;

fn mappings() -> Vec<Mapping> {
    let text = std::fs::read("/proc/self/maps").unwrap();
    text.split(|byte| *byte == b'\n').filter_map(text::line).map(|line| Mapping::of(&line)).collect()
}

fn found() -> Vec<(u64, u64, Class)> {
    let mut claims = Claims::default();
    let mappings = mappings();
    find(&Target::Own, &mappings, &[], &mut claims, &mut ProcFile::new("pagemap"));
    class::segments(&mappings, &claims).iter().map(|s| (s.start, s.end, s.class)).collect()
}

fn class_at<T>(place: *const T) -> Class {
    let place = place as u64;
    let at = |(start, end, _): &&(u64, u64, Class)| (*start..*end).contains(&place);
    found().iter().find(at).map(|(_, _, class)| *class).unwrap()
}

use crate::map::class;

static mut ZEROED: [u8; 100_000] = [0; 100_000];

#[test]
fn a_threads_stack_its_heap_its_large_block_and_zeroed_data_are_found() {
    let thread = std::thread::Builder::new().name("places".into()).spawn(|| {
        let on_stack = 5_u8;
        let small: Vec<Vec<u8>> = (0..1000).map(|_| vec![1; 200]).collect();
        assert_eq!(class_at(&raw const on_stack), Class::Stacks);
        assert_eq!(class_at(small[500].as_ptr()), Class::Malloc);
        // The kernel makes one mapping of a block and of what another test maps right beside it: then the next one counts.
        let mut blocks = Vec::new();
        let is_found = (0..20).any(|_| {
            blocks.push(vec![1_u8; 5 << 20]);
            let large = &blocks[blocks.len() - 1];
            [0, 4 << 20].into_iter().all(|at| class_at(large[at..].as_ptr()) == Class::MallocMapped)
        });
        assert!(is_found);
        assert_eq!(class_at((&raw const ZEROED).cast::<u8>().wrapping_add(50_000)), Class::Libraries);
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn headers_of_malloc_are_told_from_other_words() {
    for (before, size, bytes) in [
        (0, 0x2_1002, Some(0x2_1000)),
        (0, 0x2_1003, None),
        (0, 0x2_1001, None),
        (8, 0x2_1002, None),
        (0, 0x2_1012, None),
        (0, 2, None),
    ] {
        assert_eq!(block_bytes(before, size), bytes, "{size:x}");
    }
    assert!(is_heap(0x7f00_0000_0030, 0, 0x2_1000, 0x2_1000));
    assert!(is_heap(0x7f00_0400_0030, 0x7f00_0400_0000, HEAP, HEAP));
    assert!(!is_heap(0, 0, 0x2_1000, 0x2_1000));
    assert!(!is_heap(0x30, 5, 0x2_1000, 0x2_1000));
    assert!(!is_heap(0x30, 0, 2 * HEAP, 2 * HEAP));
}

#[cfg(target_env = "gnu")]
#[test]
fn arenas_are_as_many_as_malloc_says() {
    unsafe extern "C" {
        fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int;
    }
    let said = || {
        let mut text = [0_u8; 1 << 16];
        // SAFETY: a stream of our own, closed below.
        let stream = unsafe { libc::fmemopen(text.as_mut_ptr().cast(), text.len(), c"w".as_ptr()) };
        assert!(!stream.is_null());
        // SAFETY: it writes what fits to the stream.
        assert_eq!(unsafe { malloc_info(0, stream) }, 0);
        // SAFETY: it is open, and not used again.
        assert_eq!(unsafe { libc::fclose(stream) }, 0);
        String::from_utf8_lossy(&text).matches("<heap nr=").count() as u64
    };
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let block = vec![1_u8; 100];
                barrier.wait();
                // While all of them are busy with theirs.
                barrier.wait();
                drop(block);
            });
        }
        barrier.wait();
        // Other tests may begin a thread in between.
        let agree = (0..100).any(|_| {
            let (mut claims, before) = (Claims::default(), said());
            let found =
                find(&Target::Own, &mappings(), &[], &mut claims, &mut ProcFile::new("pagemap")).arenas;
            before > 1 && found == before
        });
        barrier.wait();
        assert!(agree, "{}", said());
    });
}

fn check_extent(words: &[u64], expected: Option<(u64, u64)>) {
    assert_eq!(extent(words, 0x7f00_007f_f9a0), expected, "{words:x?}");
}

#[test]
fn a_stack_is_what_the_thread_says() {
    let (start, size) = (0x7f00_0000_0000, 0x80_0000);
    check_extent(&[7, start, size, 0x1000, 0x1000], Some((start + 0x1000, start + size)));
    // A stack that the program gave has no guard.
    check_extent(&[start, size, 0], Some((start, start + size)));
    // Another's, one that ends far above, and none.
    check_extent(&[start - size, size, 0x1000], None);
    check_extent(&[start, 0x4000_0000, 0x1000], None);
    check_extent(&[start, size, 0x1001], None);
    check_extent(&[start], None);
    // No sum of what stands there by chance overflows.
    check_extent(&[u64::MAX, 5, u64::MAX, u64::MAX], None);
    check_extent(&[u64::MAX - 5, 3, u64::MAX], None);
}

/// As with a glibc whose guards have no mapping: the map has one range for all.
#[cfg(target_env = "gnu")]
#[test]
fn a_stack_is_as_large_as_the_c_library_says() {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
    let thread = std::thread::Builder::new().name("stack".to_owned()).stack_size(512 * 1024);
    let thread = thread.spawn(move || {
        // SAFETY: the call takes nothing and cannot fail.
        tell.send((unsafe { libc::gettid() }, own_stack())).unwrap();
        let _ = ended.recv();
    });
    let (id, (lowest, end_of_stack)) = told.recv().unwrap();
    let place = robust_list(id).unwrap();
    let (start, stop) = stack_around(Target::Own.memory(), place).expect("glibc notes the stack's extent");
    drop(end);
    thread.unwrap().join().unwrap();
    // Versions differ in whether the guard, some pages, is a part of what they say.
    assert!(start.abs_diff(lowest) <= 64 * 1024, "{start:x}, not {lowest:x}");
    assert_eq!(stop, end_of_stack);
}

/// Where the calling thread's stack begins and ends, by the C library.
#[cfg(target_env = "gnu")]
fn own_stack() -> (u64, u64) {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: it takes nothing.
    let thread = unsafe { libc::pthread_self() };
    // SAFETY: it fills what it is given.
    assert_eq!(unsafe { libc::pthread_getattr_np(thread, attributes.as_mut_ptr()) }, 0);
    // SAFETY: filled by the call above.
    let mut attributes = unsafe { attributes.assume_init() };
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are filled, and the two places are ours.
    unsafe { libc::pthread_attr_getstack(&raw const attributes, &raw mut lowest, &raw mut size) };
    // SAFETY: not used any more.
    unsafe { libc::pthread_attr_destroy(&raw mut attributes) };
    (lowest as u64, lowest as u64 + size as u64)
}
