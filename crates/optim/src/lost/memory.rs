use gristmill_core::{DType, Result};

use super::LostOptions;
use crate::{AdamOptions, Memory, ModelConfig};

/// Bytes of a model whose matrices of attention and MLPs are layers of LOST, and of what AdamW keeps of all its parameters,
/// once it has taken a step; as [`crate::memory_of`] for other optimizers. A rank beyond the smaller side of a matrix counts
/// as that side.
///
/// # Errors
/// [`gristmill_core::Code::InvalidArgument`] for sizes that no model has, or options that no layer has.
pub fn lost_memory(
    config: &ModelConfig,
    weights: DType,
    options: &LostOptions,
    adam: &AdamOptions,
) -> Result<Memory> {
    let mut memory = Memory::default();
    let mut parameter = |elements: usize| {
        let (numbers, scales) = adam.state.bytes(elements);
        memory.weights += (elements * weights.size()) as u64;
        memory.moments += numbers;
        memory.scales += scales;
    };
    let mut indices = 0;
    for (_, shape, matrix) in config.params()? {
        let [out, inputs] = match *shape {
            [out, inputs] if matrix => [out, inputs],
            _ => {
                parameter(shape.iter().product());
                continue;
            }
        };
        let rank = options.rank.min(out).min(inputs);
        LostOptions { rank, ..*options }.check([out, inputs])?;
        let k = options.whole_columns(inputs);
        [inputs * rank, rank * out, out * k].into_iter().for_each(&mut parameter);
        indices += k as u64 * DType::U32.size() as u64;
    }
    memory.weights += indices;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateType;

    #[test]
    fn published_models_take_what_arithmetic_says() {
        let adam = AdamOptions { state: StateType::Bf16, ..AdamOptions::default() };
        for ((name, rank), gigabytes) in
            ModelConfig::NAMES.into_iter().zip([128, 256, 256, 512, 1024]).zip([0.26, 0.59, 1.20, 4.02, 18.9])
        {
            let options = LostOptions { rank, ..LostOptions::default() };
            let config = ModelConfig::named(name).unwrap();
            let memory = lost_memory(&config, DType::Bf16, &options, &adam).unwrap();
            let all = (memory.weights + memory.state()) as f64 / 1e9;
            assert!((all - gigabytes).abs() <= 0.006 * gigabytes.max(1.0), "{name}: {all} {gigabytes}");
        }
    }
}
