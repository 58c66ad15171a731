//! A heap array that never moves: the kernel is given pointers into it that stay valid for its life.

use std::ptr::NonNull;

/// `length` values of `T` at one address. Pointers handed out by [`StableArray::pointer`] stay valid until it is dropped.
pub(crate) struct StableArray<T> {
    start: NonNull<T>,
    length: usize,
}

impl<T> StableArray<T> {
    /// Takes the values; their order and number never change again.
    pub(crate) fn new(values: Vec<T>) -> Self {
        let boxed = Box::leak(values.into_boxed_slice());
        StableArray {
            length: boxed.len(),
            start: NonNull::from(boxed).cast(),
        }
    }

    /// The address of one value, or `None` past the end.
    pub(crate) fn pointer(&self, index: usize) -> Option<*mut T> {
        // SAFETY: `index` is below the length, so the address lies inside the allocation that `new` took.
        (index < self.length).then(|| unsafe { self.start.as_ptr().add(index) })
    }

    /// All of it, to read.
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `start` and `length` describe the boxed slice that `new` leaked and only `drop` takes back.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// All of it, to write.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T> Drop for StableArray<T> {
    fn drop(&mut self) {
        let all = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.length);
        // SAFETY: this is the box that `new` leaked, and it is taken back once.
        drop(unsafe { Box::from_raw(all) });
    }
}

// SAFETY: a `StableArray` owns its values like a box; the raw pointers in headers lead only into arrays of the same owner,
// which move to another thread with it.
unsafe impl<T> Send for StableArray<T> {}
// SAFETY: shared access only reads plain data.
unsafe impl<T> Sync for StableArray<T> {}
