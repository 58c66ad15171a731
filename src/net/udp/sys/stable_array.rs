//! A heap array whose address never changes.

use std::ptr::NonNull;

/// A fixed number of values at a fixed address. A `Box<[T]>` would not do: moving the box asserts
/// that no other pointer into it is in use, while the kernel's message headers keep such pointers
/// for the array's life.
pub(crate) struct StableArray<T> {
    start: NonNull<T>,
    length: usize,
}

impl<T> StableArray<T> {
    pub(crate) fn new(values: Vec<T>) -> Self {
        let values = Box::leak(values.into_boxed_slice());
        StableArray {
            length: values.len(),
            start: NonNull::from(values).cast(),
        }
    }

    /// The address of one value, valid until the array is dropped; `None` past the end.
    #[cfg(target_os = "linux")]
    pub(crate) fn pointer(&self, index: usize) -> Option<*mut T> {
        // SAFETY: `index` is below the length, so the address lies inside the allocation that `new`
        // leaked.
        (index < self.length).then(|| unsafe { self.start.as_ptr().add(index) })
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `start` and `length` describe the slice that `new` leaked and that only `drop`
        // frees.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `&mut self` rules out any other reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T> Drop for StableArray<T> {
    fn drop(&mut self) {
        let values = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.length);
        // SAFETY: `new` leaked this box, and nothing else frees it.
        drop(unsafe { Box::from_raw(values) });
    }
}

// SAFETY: a `StableArray` owns its values as a box does, so it may move to another thread if they
// may.
unsafe impl<T: Send> Send for StableArray<T> {}
// SAFETY: a shared `StableArray` gives shared references to its values as a box does.
unsafe impl<T: Sync> Sync for StableArray<T> {}
