use gristmill_core::ops::{Reduction, RowReduce};
use gristmill_core::{DType, Result};

use super::Team;
use crate::backend::Context;

pub(super) fn run(op: &RowReduce, cx: &mut Context<'_>) -> Result<()> {
    let columns = op.x.shape().rows_cols().1;
    let team = Team::new(cx, op.out.len(), columns, 8)?;
    let args = team.args().u64(cx.at(&op.x)?).u64(cx.at(&op.out)?).size(columns).finish();
    team.launch(cx, "row_reduce", &suffix(op.reduction, op.x.dtype()), &args)
}

/// Which kernel of a reduction: its rule and type.
pub(super) fn suffix(reduction: Reduction, dtype: DType) -> String {
    let rule = match reduction {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::SumSquares => "sum_squares",
    };
    format!("_{rule}_{dtype}")
}
